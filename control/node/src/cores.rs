//! Which CPUs do what.
//!
//! Shards get CPUs of their own. Lanes and the control plane share the others; when there are none they share all, and
//! the machine is too small for more than a try.

/// The CPUs of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    /// One shard each.
    pub(crate) cores: Vec<usize>,
    /// How many lanes run beside them.
    pub(crate) lanes: usize,
    /// Where everything else may run; empty when the shards have every CPU.
    pub(crate) spare: Vec<usize>,
}

/// The highest number that a CPU can have.
const CPU_MAX: usize = 4_095;
/// More lanes than this are a slip of the finger.
const LANES_MAX: usize = 1_024;

impl Placement {
    /// Places a node on the CPUs `allowed`, which are sorted and not none.
    pub(crate) fn new(
        allowed: &[usize],
        cores: Option<&str>,
        lanes: Option<usize>,
    ) -> Result<Self, String> {
        let cores = match cores {
            Some(list) => parse(list)?,
            None => allowed[..(allowed.len() / 2).max(1)].to_vec(),
        };
        if let Some(foreign) = cores.iter().find(|cpu| !allowed.contains(cpu)) {
            let allowed = to_list(allowed);
            return Err(format!(
                "CPU {foreign} is not among those that this process may use, {allowed}"
            ));
        }
        let spare: Vec<_> = allowed
            .iter()
            .copied()
            .filter(|cpu| !cores.contains(cpu))
            .collect();
        let lanes = lanes.unwrap_or(spare.len().max(1));
        match lanes {
            1..=LANES_MAX => Ok(Self {
                cores,
                lanes,
                spare,
            }),
            _ => Err(format!("{lanes} lanes; there can be 1 to {LANES_MAX}")),
        }
    }
}

/// Reads a list such as `0,2-3`. Sorted, and each CPU once.
fn parse(list: &str) -> Result<Vec<usize>, String> {
    let number = |text: &str| match text.trim().parse::<usize>() {
        Ok(cpu) if cpu <= CPU_MAX => Ok(cpu),
        _ => Err(format!("`{}` is not the number of a CPU", text.trim())),
    };
    let mut cpus = Vec::new();
    for part in list.split(',') {
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(format!("`{}` runs backwards", part.trim()));
                }
                cpus.extend(first..=last);
            }
            None => cpus.push(number(part)?),
        }
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

/// Writes a sorted list as `parse` reads it.
pub(crate) fn to_list(cpus: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let words: Vec<_> = runs
        .into_iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for (text, cpus) in [
            ("0", vec![0]),
            ("0,2-3", vec![0, 2, 3]),
            (" 3 , 1-2, 2 ", vec![1, 2, 3]),
            ("7-7", vec![7]),
        ] {
            assert_eq!(parse(text).unwrap(), cpus, "{text}");
        }
        assert_eq!(to_list(&[0, 2, 3, 4, 9]), "0,2-4,9");
        assert_eq!(to_list(&[]), "");
        for text in [
            "",
            ",",
            "a",
            "1-",
            "-1",
            "3-1",
            "0-99999999999999999999",
            "0-18446744073709551615",
            "1..3",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn half_of_the_cpus_carry_the_network_unless_told_otherwise() {
        let place = |allowed: &[usize]| {
            let place = Placement::new(allowed, None, None).unwrap();
            (place.cores, place.lanes, place.spare)
        };
        assert_eq!(place(&[5]), (vec![5], 1, vec![]));
        assert_eq!(place(&[0, 1]), (vec![0], 1, vec![1]));
        assert_eq!(place(&[0, 1, 2]), (vec![0], 2, vec![1, 2]));
        assert_eq!(place(&[0, 1, 4, 5]), (vec![0, 1], 2, vec![4, 5]));
        let all = Placement::new(&[0, 1], Some("0-1"), None).unwrap();
        assert_eq!((all.lanes, all.spare), (1, vec![]));
        assert_eq!(
            Placement::new(&[0, 1], Some("1"), Some(7)).unwrap().lanes,
            7
        );
    }

    #[test]
    fn cpus_that_are_not_ours_are_refused() {
        assert_eq!(
            Placement::new(&[0, 1, 2], Some("1,9"), None).unwrap_err(),
            "CPU 9 is not among those that this process may use, 0-2"
        );
        assert!(
            Placement::new(&[0], None, Some(0))
                .unwrap_err()
                .contains("1 to 1024")
        );
    }
}
