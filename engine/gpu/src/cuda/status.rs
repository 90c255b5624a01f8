//! What a driver's status means for whoever asked: nothing, only their call, or the whole context.
//!
//! A kernel that faults poisons its context: from then on every call on it gives the same error, whoever makes it and whatever
//! it is about. Those statuses are [`Fault::Lost`]. So are the ones that say that the context, the driver or the service behind
//! it is gone. What is only about memory or a count that ran out is [`Fault::Full`], and all else [`Fault::Failed`].

use super::calls::Status;
use crate::fault::Fault;

pub(super) const SUCCESS: Status = 0;
pub(super) const OUT_OF_MEMORY: Status = 2;
pub(super) const NO_DEVICE: Status = 100;
/// An event whose work is still going on. Not a failure.
pub(super) const NOT_READY: Status = 600;
/// Somebody has made the primary context already. Its flags are theirs, then.
pub(super) const PRIMARY_CONTEXT_ACTIVE: Status = 708;

/// How much is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Lost,
    Full,
    Failed,
}

/// The fault that a status other than success is. `unknown` names a status that is not in the table.
pub(super) fn fault(
    call: &'static str,
    status: Status,
    unknown: impl Fn() -> &'static str,
) -> Fault {
    let (scope, name) = known(status).unwrap_or_else(|| (Scope::Failed, unknown()));
    match scope {
        Scope::Lost => Fault::Lost { call, name },
        Scope::Full => Fault::Full { call, name },
        Scope::Failed => Fault::Failed { call, name },
    }
}

/// The name of a status, where the table has it.
pub(super) fn name(status: Status) -> Option<&'static str> {
    known(status).map(|(_, name)| name)
}

/// The statuses of CUDA 13.4's `cuda.h` that a program such as this can meet. What the header says "leaves the process in an
/// inconsistent state" is lost.
fn known(status: Status) -> Option<(Scope, &'static str)> {
    use Scope::{Failed, Full, Lost};
    Some(match status {
        1 => (Failed, "CUDA_ERROR_INVALID_VALUE"),
        OUT_OF_MEMORY => (Full, "CUDA_ERROR_OUT_OF_MEMORY"),
        3 => (Lost, "CUDA_ERROR_NOT_INITIALIZED"),
        4 => (Lost, "CUDA_ERROR_DEINITIALIZED"),
        34 => (Failed, "CUDA_ERROR_STUB_LIBRARY"),
        46 => (Failed, "CUDA_ERROR_DEVICE_UNAVAILABLE"),
        NO_DEVICE => (Failed, "CUDA_ERROR_NO_DEVICE"),
        101 => (Failed, "CUDA_ERROR_INVALID_DEVICE"),
        102 => (Failed, "CUDA_ERROR_DEVICE_NOT_LICENSED"),
        200 => (Failed, "CUDA_ERROR_INVALID_IMAGE"),
        201 => (Lost, "CUDA_ERROR_INVALID_CONTEXT"),
        202 => (Failed, "CUDA_ERROR_CONTEXT_ALREADY_CURRENT"),
        205 => (Failed, "CUDA_ERROR_MAP_FAILED"),
        206 => (Failed, "CUDA_ERROR_UNMAP_FAILED"),
        209 => (Failed, "CUDA_ERROR_NO_BINARY_FOR_GPU"),
        211 => (Failed, "CUDA_ERROR_NOT_MAPPED"),
        214 => (Lost, "CUDA_ERROR_ECC_UNCORRECTABLE"),
        215 => (Failed, "CUDA_ERROR_UNSUPPORTED_LIMIT"),
        216 => (Failed, "CUDA_ERROR_CONTEXT_ALREADY_IN_USE"),
        218 => (Failed, "CUDA_ERROR_INVALID_PTX"),
        220 => (Lost, "CUDA_ERROR_NVLINK_UNCORRECTABLE"),
        221 => (Failed, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND"),
        222 => (Failed, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"),
        223 => (Failed, "CUDA_ERROR_JIT_COMPILATION_DISABLED"),
        226 => (Lost, "CUDA_ERROR_CONTAINED"),
        300 => (Failed, "CUDA_ERROR_INVALID_SOURCE"),
        302 => (Failed, "CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND"),
        303 => (Failed, "CUDA_ERROR_SHARED_OBJECT_INIT_FAILED"),
        304 => (Failed, "CUDA_ERROR_OPERATING_SYSTEM"),
        400 => (Failed, "CUDA_ERROR_INVALID_HANDLE"),
        401 => (Failed, "CUDA_ERROR_ILLEGAL_STATE"),
        500 => (Failed, "CUDA_ERROR_NOT_FOUND"),
        NOT_READY => (Failed, "CUDA_ERROR_NOT_READY"),
        700 => (Lost, "CUDA_ERROR_ILLEGAL_ADDRESS"),
        701 => (Failed, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"),
        702 => (Lost, "CUDA_ERROR_LAUNCH_TIMEOUT"),
        PRIMARY_CONTEXT_ACTIVE => (Failed, "CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE"),
        709 => (Lost, "CUDA_ERROR_CONTEXT_IS_DESTROYED"),
        710 => (Lost, "CUDA_ERROR_ASSERT"),
        712 => (Failed, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED"),
        713 => (Failed, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED"),
        714 => (Lost, "CUDA_ERROR_HARDWARE_STACK_ERROR"),
        715 => (Lost, "CUDA_ERROR_ILLEGAL_INSTRUCTION"),
        716 => (Lost, "CUDA_ERROR_MISALIGNED_ADDRESS"),
        717 => (Lost, "CUDA_ERROR_INVALID_ADDRESS_SPACE"),
        718 => (Lost, "CUDA_ERROR_INVALID_PC"),
        719 => (Lost, "CUDA_ERROR_LAUNCH_FAILED"),
        721 => (Lost, "CUDA_ERROR_TENSOR_MEMORY_LEAK"),
        800 => (Failed, "CUDA_ERROR_NOT_PERMITTED"),
        801 => (Failed, "CUDA_ERROR_NOT_SUPPORTED"),
        802 => (Lost, "CUDA_ERROR_SYSTEM_NOT_READY"),
        803 => (Lost, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
        804 => (Lost, "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE"),
        805 => (Lost, "CUDA_ERROR_MPS_CONNECTION_FAILED"),
        806 => (Lost, "CUDA_ERROR_MPS_RPC_FAILURE"),
        807 => (Lost, "CUDA_ERROR_MPS_SERVER_NOT_READY"),
        808 => (Full, "CUDA_ERROR_MPS_MAX_CLIENTS_REACHED"),
        809 => (Full, "CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED"),
        810 => (Lost, "CUDA_ERROR_MPS_CLIENT_TERMINATED"),
        909 => (Lost, "CUDA_ERROR_TIMEOUT"),
        911 => (Lost, "CUDA_ERROR_EXTERNAL_DEVICE"),
        999 => (Lost, "CUDA_ERROR_UNKNOWN"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: Status) -> Fault {
        fault("cuCall", status, || "unknown to the table")
    }

    #[test]
    fn what_poisons_a_context_or_takes_it_away_is_lost() {
        let lost = [
            3, 4, 201, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 802,
            803, 804, 805, 806, 807, 810, 909, 911, 999,
        ];
        for status in 1..1200 {
            let fault = of(status);
            assert_eq!(fault.is_lost(), lost.contains(&status), "{status}: {fault}");
        }
    }

    #[test]
    fn what_ran_out_is_full_and_hurts_one() {
        for status in [2, 808, 809] {
            assert!(matches!(of(status), Fault::Full { .. }), "{status}");
        }
        let full = (1..1200).filter(|&status| matches!(of(status), Fault::Full { .. }));
        assert_eq!(full.count(), 3);
    }

    #[test]
    fn a_fault_says_which_call_and_why_and_a_status_of_a_newer_driver_is_named_by_it() {
        let text = "device lost: cuCall failed with CUDA_ERROR_ILLEGAL_ADDRESS";
        assert_eq!(of(700).to_string(), text);
        assert_eq!(
            of(1199),
            Fault::Failed {
                call: "cuCall",
                name: "unknown to the table"
            }
        );
    }
}
