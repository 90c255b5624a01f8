//! A chain within the node that ticks with the clock.
//!
//! It is for trying payments out and for measuring them: blocks and rounds pass as on the real one, every sender is rich, redeeming costs
//! nothing, and nothing on it is worth anything. It needs no memory: where it is follows from the time, so it goes on after a restart.

use std::sync::Arc;

use link::Chain;
use ticket::address::{Address, Hash};
use ticket::amount::Wei;
use ticket::float::Funds;
use ticket::keccak::keccak256;
use ticket::offer::Head;

use crate::world::World;

/// An L1 block takes twelve seconds.
const BLOCK_MS: u64 = 12_000;
/// A round of Livepeer's takes so many L1 blocks: 19 hours.
const ROUND_BLOCKS: u64 = 5_760;

/// See the module.
pub struct ClockChain {
    world: Arc<dyn World>,
}

impl ClockChain {
    /// One that goes by this clock.
    pub fn new(world: Arc<dyn World>) -> Self {
        Self { world }
    }
}

impl Chain for ClockChain {
    fn head(&self) -> Head {
        let l1_block = self.world.unix_ms() / BLOCK_MS;
        let round = l1_block / ROUND_BLOCKS;
        Head {
            l1_block,
            round,
            round_block_hash: Hash(keccak256(&round.to_be_bytes())),
            gas_price: Wei::ZERO,
        }
    }

    fn funds(&self, _sender: &Address) -> Option<Funds> {
        // A billion ether: more than winners can come to while nobody settles them.
        let rich = Wei::from(10).pow(Wei::from(27));
        Some(Funds {
            deposit: rich,
            reserve: rich,
            pool_size: 1,
            ..Funds::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct At(AtomicU64);

    impl World for At {
        fn unix_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn fill(&self, _bytes: &mut [u8]) -> std::io::Result<()> {
            Err(std::io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn blocks_and_rounds_pass_with_the_clock() {
        let world = Arc::new(At(AtomicU64::new(1_795_000_000_000)));
        let chain = ClockChain::new(world.clone());
        let before = chain.head();
        world.0.fetch_add(BLOCK_MS, Ordering::Relaxed);
        assert_eq!(
            chain.head(),
            Head {
                l1_block: before.l1_block + 1,
                ..before
            }
        );
        world
            .0
            .fetch_add(BLOCK_MS * ROUND_BLOCKS, Ordering::Relaxed);
        let later = chain.head();
        assert_eq!(later.round, before.round + 1);
        assert_ne!(later.round_block_hash, before.round_block_hash);
        assert!(
            chain
                .funds(&Address::ZERO)
                .unwrap()
                .covers(Wei::from(10).pow(Wei::from(26)), Wei::ZERO)
        );
    }
}
