//! Where, when and with what: the machine, the program and the server, so that a figure can be judged, and had again.
//!
//! ```text
//!   /proc  /sys  NVML ──read──▶ text ──pure parsers──▶ Machine ─┐
//!   arguments, clock, LOADGEN_GIT_SHA ──────────────────────────┼──▶ Repro
//!   /proc/PID of the server ────────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - Nothing is executed, and nothing is guessed: what does not show is `not shown`.
//! - A command line is published with the result, so what looks like a secret in it is not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::outcome::{Machine, Repro};
use crate::sample::gpu;
use crate::target::Target;

/// The machine that this runs on.
pub fn probe() -> Machine {
    let cpuinfo = read("/proc/cpuinfo");
    let status = read("/proc/self/status");
    Machine {
        cpu: cpu_model(&cpuinfo).unwrap_or_else(|| NOT_SHOWN.to_owned()),
        cpus: count(&cpuinfo, "processor"),
        cpus_allowed: field(&status, "Cpus_allowed_list").unwrap_or_else(|| NOT_SHOWN.to_owned()),
        numa_nodes: numa_nodes(),
        governor: shown("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        smt: match shown("/sys/devices/system/cpu/smt/active").as_str() {
            "1" => "on".to_owned(),
            "0" => "off".to_owned(),
            other => other.to_owned(),
        },
        memory_mib: memory_mib(&read("/proc/meminfo")),
        kernel: shown("/proc/sys/kernel/osrelease"),
        virtual_machine: virtual_machine(
            &cpuinfo,
            &shown("/sys/class/dmi/id/sys_vendor"),
            &shown("/sys/class/dmi/id/product_name"),
            &read("/sys/hypervisor/type"),
        ),
        container: container(
            Path::new("/.dockerenv").exists(),
            Path::new("/run/.containerenv").exists(),
            &read("/proc/self/cgroup"),
        ),
        cgroup: cgroup(&read("/proc/self/cgroup")),
        gpus: gpu::inventory(),
        nics: nics(),
    }
}

/// All that is needed to do a run again, begun now.
pub fn repro(seed: u64, target: &Target, server_pid: Option<u32>) -> Repro {
    let command: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    Repro {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        git_sha: env!("LOADGEN_GIT_SHA").to_owned(),
        command: conceal(&command),
        seed,
        started_at: rfc3339(since),
        server: server(target, server_pid),
        machine: probe(),
    }
}

/// What shows of the server without asking it: it is watched, not run.
fn server(target: &Target, pid: Option<u32>) -> BTreeMap<String, String> {
    let mut server = BTreeMap::from([("url".to_owned(), target.url.clone())]);
    let Some(pid) = pid else {
        server.insert(
            "process".to_owned(),
            "not watched: it is not on this machine, or not ours to see".to_owned(),
        );
        return server;
    };
    let mut add = |name: &str, value: String| server.insert(name.to_owned(), value);
    add("pid", pid.to_string());
    match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(path) => {
            add("executable", path.to_string_lossy().into_owned());
            // Through /proc, so that it is the file that runs and not one that has taken its place since.
            if let Ok(file) = fs::metadata(format!("/proc/{pid}/exe")) {
                let changed = file
                    .modified()
                    .ok()
                    .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
                    .map_or_else(|| NOT_SHOWN.to_owned(), |since| rfc3339(since.as_secs()));
                add(
                    "executable_file",
                    format!("{} bytes, changed {changed}", file.len()),
                );
            }
        }
        Err(error) => {
            add("executable", format!("{NOT_SHOWN}: {error}"));
        }
    }
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(bytes) => add("command", conceal(&arguments(&bytes)).join(" ")),
        Err(error) => add("command", format!("{NOT_SHOWN}: {error}")),
    };
    server
}

/// `/proc/PID/cmdline`: each argument ends with a NUL.
fn arguments(cmdline: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(cmdline);
    text.trim_end_matches('\0')
        .split('\0')
        .map(str::to_owned)
        .collect()
}

/// The arguments without what looks like a secret: values of flags with a telling name, and all of a URL after its host, where
/// RPC providers put their keys.
pub fn conceal(args: &[String]) -> Vec<String> {
    let mut is_value_secret = false;
    let is_telling = |flag: &str| {
        let flag = flag.to_ascii_lowercase();
        flag == "--key" || TELLING.iter().any(|word| flag.contains(word))
    };
    args.iter()
        .map(|arg| {
            let was_value_secret = std::mem::take(&mut is_value_secret);
            if !arg.starts_with('-') {
                return if was_value_secret {
                    CONCEALED.to_owned()
                } else {
                    host_only(arg)
                };
            }
            match arg.split_once('=') {
                Some((flag, _)) if is_telling(flag) => format!("{flag}={CONCEALED}"),
                Some((flag, value)) => format!("{flag}={}", host_only(value)),
                None => {
                    is_value_secret = is_telling(arg);
                    arg.clone()
                }
            }
        })
        .collect()
}

/// A URL up to its host, without a user; anything else as it is.
fn host_only(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let is_whole = host.len() == authority.len() && path.trim_end_matches('/').is_empty();
    if is_whole {
        value.to_owned()
    } else {
        format!("{scheme}://{host}/{CONCEALED}")
    }
}

/// UTC, of seconds since 1970.
pub fn rfc3339(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// The date of a day counted from 1970-01-01, by the proleptic Gregorian calendar.
///
/// Years are taken to begin in March, so that the odd day is the last; an era is 400 of them, 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // days from 0000-03-01 to 1970-01-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// `Name: value` or `name<tab>: value`, the first of that name.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

fn count(text: &str, name: &str) -> u32 {
    let lines = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.trim() == name);
    u32::try_from(lines.count()).unwrap_or(u32::MAX)
}

/// Arm has no model name; there the implementer and part say which core it is.
fn cpu_model(cpuinfo: &str) -> Option<String> {
    field(cpuinfo, "model name").or_else(|| {
        let implementer = field(cpuinfo, "CPU implementer")?;
        Some(format!(
            "implementer {implementer} part {}",
            field(cpuinfo, "CPU part")?
        ))
    })
}

fn memory_mib(meminfo: &str) -> u64 {
    field(meminfo, "MemTotal")
        .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib >> 10)
}

fn virtual_machine(cpuinfo: &str, vendor: &str, product: &str, hypervisor: &str) -> String {
    let flags = field(cpuinfo, "flags");
    let is_flagged = flags
        .as_deref()
        .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    let dmi = format!("{vendor} {product}");
    let is_named = VM_NAMES.iter().any(|name| dmi.contains(name)) && !dmi.contains(".metal");
    let kind = match (hypervisor.trim(), vendor == NOT_SHOWN) {
        ("", true) => "kind not shown".to_owned(),
        ("", false) => dmi,
        (kind, _) => kind.to_owned(),
    };
    match (is_flagged, flags.is_some(), is_named) {
        (true, _, _) => format!("yes: hypervisor flag, {kind}"),
        (false, _, true) => format!("yes: {kind}"),
        (false, true, false) => "none".to_owned(),
        // Without flags, as on Arm, only the firmware could say.
        (false, false, false) if vendor == NOT_SHOWN => NOT_SHOWN.to_owned(),
        (false, false, false) => "none".to_owned(),
    }
}

fn container(has_dockerenv: bool, has_containerenv: bool, cgroup: &str) -> String {
    if has_dockerenv {
        return "docker: /.dockerenv".to_owned();
    }
    if has_containerenv {
        return "podman: /run/.containerenv".to_owned();
    }
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths
        .filter_map(|path| {
            let hint = CONTAINER_HINTS.iter().find(|hint| path.contains(*hint))?;
            Some(format!("{hint}: control group {path}"))
        })
        .next()
        .unwrap_or_else(|| "none".to_owned())
}

/// Limits of our own control group and of all above it; a limit holds wherever it is set.
fn cgroup(own: &str) -> Vec<String> {
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::")) else {
        return vec![NO_CGROUP.to_owned()];
    };
    let root = Path::new("/sys/fs/cgroup");
    if !root.join("cgroup.controllers").exists() {
        return vec![NO_CGROUP.to_owned()];
    }
    let relative = path.trim_start_matches('/');
    let own = root.join(relative);
    let mut lines = Vec::new();
    for folder in own
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
    {
        for name in ["cpu.max", "memory.max", "cpuset.cpus.effective"] {
            let Ok(text) = fs::read_to_string(folder.join(name)) else {
                continue;
            };
            let text = text.trim();
            let is_own = folder == own.as_path();
            if is_own {
                lines.push(format!("{name}={text}"));
            } else if name != "cpuset.cpus.effective" && !text.starts_with("max") {
                let above = folder.strip_prefix(root).unwrap_or(folder);
                lines.push(format!("/{} {name}={text}", above.display()));
            }
        }
    }
    if lines.is_empty() {
        lines.push("no limits: the root group".to_owned());
    }
    lines
}

fn numa_nodes() -> u32 {
    let nodes = names("/sys/devices/system/node")
        .iter()
        .filter_map(|name| name.strip_prefix("node"))
        .filter(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        .count();
    // A kernel without NUMA has one, and does not show it.
    u32::try_from(nodes).unwrap_or(u32::MAX).max(1)
}

/// Interfaces that are up, other than the loopback.
fn nics() -> Vec<String> {
    let folder = "/sys/class/net";
    names(folder)
        .into_iter()
        .filter(|name| name != "lo")
        .filter_map(|name| {
            nic(
                &name,
                &read(&format!("{folder}/{name}/operstate")),
                &read(&format!("{folder}/{name}/speed")),
            )
        })
        .collect()
}

fn nic(name: &str, state: &str, speed: &str) -> Option<String> {
    // A virtual one may be `unknown` and work.
    if !matches!(state.trim(), "up" | "unknown") {
        return None;
    }
    Some(match speed.trim().parse::<i64>() {
        Ok(mbit) if mbit > 0 => format!("{name} {mbit} Mbit/s"),
        _ => format!("{name}, speed {NOT_SHOWN}"),
    })
}

fn names(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

/// Empty when it cannot be read, which the parsers know as not shown.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn shown(path: &str) -> String {
    match read(path).trim() {
        "" => NOT_SHOWN.to_owned(),
        text => text.to_owned(),
    }
}

const NOT_SHOWN: &str = "not shown";
const CONCEALED: &str = "***";
const NO_CGROUP: &str = "not read: no control groups of version 2";
/// In the name of a flag whose value is nobody's business.
const TELLING: &[&str] = &[
    "secret", "pass", "token", "apikey", "api-key", "api_key", "auth", "cred", "private",
];
/// What the firmware of a virtual machine calls itself.
const VM_NAMES: &[&str] = &[
    "QEMU",
    "KVM",
    "VMware",
    "VirtualBox",
    "Virtual Machine",
    "Amazon EC2",
    "Google Compute Engine",
    "Xen",
    "OpenStack",
    "Bochs",
];
/// In the path of a control group.
const CONTAINER_HINTS: &[&str] = &["docker", "kubepods", "containerd", "libpod", "lxc", "crio"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Trust;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_772_323_200, "2026-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn proc_files_are_read_by_their_names() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nflags\t\t: fpu sse\n\nprocessor\t: 1\nmodel name\t: B\n";
        assert_eq!(cpu_model(cpuinfo).as_deref(), Some("A CPU @ 2 GHz"));
        assert_eq!(count(cpuinfo, "processor"), 2);
        assert_eq!(
            cpu_model("CPU implementer : 0x41\nCPU part\t: 0xd40\n").as_deref(),
            Some("implementer 0x41 part 0xd40")
        );
        assert_eq!(cpu_model(""), None);
        assert_eq!(
            memory_mib("MemTotal:       16384000 kB\nMemFree: 1 kB\n"),
            16_000
        );
        assert_eq!(memory_mib("nonsense"), 0);
    }

    #[test]
    fn a_virtual_machine_shows_by_its_flag_or_its_firmware() {
        let (plain, flagged) = ("flags : fpu sse\n", "flags : fpu hypervisor sse\n");
        for (cpuinfo, vendor, product, said) in [
            (plain, "Dell Inc.", "PowerEdge", "none"),
            (plain, "Amazon EC2", "c5.metal", "none"),
            (
                flagged,
                "QEMU",
                "Standard PC",
                "yes: hypervisor flag, QEMU Standard PC",
            ),
            (
                flagged,
                NOT_SHOWN,
                NOT_SHOWN,
                "yes: hypervisor flag, kind not shown",
            ),
            (
                "",
                "QEMU",
                "KVM Virtual Machine",
                "yes: QEMU KVM Virtual Machine",
            ),
            ("", NOT_SHOWN, NOT_SHOWN, NOT_SHOWN),
            ("", "Ampere", "Altra", "none"),
        ] {
            assert_eq!(virtual_machine(cpuinfo, vendor, product, ""), said);
        }
        assert_eq!(
            virtual_machine(flagged, NOT_SHOWN, NOT_SHOWN, "xen\n"),
            "yes: hypervisor flag, xen"
        );
    }

    #[test]
    fn a_container_shows_by_its_marks() {
        assert_eq!(container(true, false, ""), "docker: /.dockerenv");
        assert_eq!(container(false, true, ""), "podman: /run/.containerenv");
        assert_eq!(
            container(false, false, "0::/kubepods.slice/pod7\n"),
            "kubepods: control group /kubepods.slice/pod7"
        );
        assert_eq!(container(false, false, "0::/user.slice\n"), "none");
        assert_eq!(cgroup("4:memory:/\n"), [NO_CGROUP]);
    }

    #[test]
    fn interfaces_that_are_down_are_left_out() {
        assert_eq!(
            nic("eth0", "up\n", "10000\n").as_deref(),
            Some("eth0 10000 Mbit/s")
        );
        assert_eq!(
            nic("veth1", "up", "-1").as_deref(),
            Some("veth1, speed not shown")
        );
        assert_eq!(nic("eth1", "down\n", "1000"), None);
    }

    #[test]
    fn what_looks_like_a_secret_is_concealed() {
        let line = "livepeer\0-orchSecret\0abc\0-ethPassword=xyz\0-ethUrl\0https://u:p@rpc.example/v3/KEY\0-v\0\x36\0-url=http://a:1/\0";
        let shown = conceal(&arguments(line.as_bytes())).join(" ");
        assert_eq!(
            shown,
            "livepeer -orchSecret *** -ethPassword=*** -ethUrl https://rpc.example/*** -v 6 -url=http://a:1/"
        );
    }

    #[test]
    fn this_machine_and_this_process_are_found() {
        let target = Target::resolve("http://127.0.0.1:1", Trust::Anyone, String::new()).unwrap();
        let repro = repro(7, &target, Some(std::process::id()));
        assert_eq!((repro.seed, repro.version.as_str()), (7, "0.1.0"));
        assert!(!repro.git_sha.is_empty() && repro.started_at.ends_with('Z'));
        assert!(repro.machine.cpus >= 1 && repro.machine.memory_mib > 0);
        assert!(
            !repro.machine.gpus.is_empty(),
            "a line says why there is none"
        );
        assert_eq!(repro.server["url"], "http://127.0.0.1:1");
        assert!(
            repro.server["executable_file"].contains("bytes"),
            "{:?}",
            repro.server
        );
        let remote = super::repro(7, &target, None);
        assert!(remote.server["process"].contains("not watched"));
    }
}
