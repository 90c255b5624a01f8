//! Compiles with the system's C++ compiler, and launches a kernel in a child process.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use kernels::{Item, Kernel, Surface};

/// In what blocks and in which order a launch runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// Threads of a block, across and down; those that the kernel was written for when `None`.
    pub(crate) threads: Option<[u32; 2]>,
    /// The last thread of the last block first.
    pub(crate) is_backward: bool,
}

/// Runs one kernel over the items. Addresses are offsets into `memory`, 0 being none.
pub(crate) fn launch(kernel: Kernel, items: &[Item], memory: &mut Vec<u8>, how: How) {
    let grid = match how.threads {
        Some(threads) => kernel.grid_of(items, threads),
        None => kernel.grid(items),
    };
    let mut input = Vec::new();
    put(&mut input, &[items.len() as u32]);
    put(&mut input, &grid.blocks);
    put(&mut input, &grid.threads);
    put(&mut input, &[u32::from(how.is_backward)]);
    items.iter().for_each(|item| put_item(&mut input, item));
    input.extend_from_slice(memory);

    let mut child = Command::new(executable_of(kernel))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the kernel's program runs");
    // It reads all before it writes any, and ends by itself should the kernel not return.
    let written = child
        .stdin
        .take()
        .expect("its standard input")
        .write_all(&input);
    let output = child.wait_with_output().expect("it ends");
    assert!(
        output.status.success() && written.is_ok(),
        "{kernel:?}, {grid:?}: {}, {written:?}",
        output.status
    );
    assert_eq!(output.stdout.len(), memory.len(), "{kernel:?}");
    *memory = output.stdout;
}

/// The program that runs one kernel; compiled once a process.
fn executable_of(kernel: Kernel) -> PathBuf {
    static COMPILED: Mutex<Option<HashMap<Kernel, PathBuf>>> = Mutex::new(None);
    // A compiler that failed in another test fails here again, and says why again.
    let mut compiled = COMPILED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    compiled
        .get_or_insert_default()
        .entry(kernel)
        .or_insert_with(|| {
            let name = kernel.name();
            let main = format!("-DKERNEL={name}");
            compile(
                name,
                &[&main, "tests/host/main.cpp", &format!("cu/{name}.cu")],
            )
        })
        .clone()
}

/// Compiles these arguments as C++ into a program of this name. Undefined behaviour, a misaligned access included, ends it.
pub(crate) fn compile(name: &str, arguments: &[&str]) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // Another process may be at the same; a rename puts a whole program there, whoever is last.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let fresh = folder.join(format!("{name}-{}-{number}", std::process::id()));
    let output = Command::new(&compiler)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["-std=c++17", "-O1", "-ffp-contract=off"])
        .args(["-fno-strict-aliasing", "-Wall", "-Wno-unknown-pragmas"])
        .args(["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"])
        .args(["-I", "cu", "-include", "tests/host/cuda.h", "-x", "c++"])
        .args(arguments)
        .arg("-o")
        .arg(&fresh)
        .output()
        .unwrap_or_else(|error| panic!("a C++ compiler is needed; {compiler:?}: {error}"));
    assert!(
        output.status.success(),
        "{name} does not compile:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let path = folder.join(name);
    fs::rename(&fresh, &path).expect("a program is renamed");
    path
}

fn put_item(to: &mut Vec<u8>, item: &Item) {
    put_surface(to, &item.src);
    put_surface(to, &item.dst);
    for address in [item.aux, item.scratch] {
        to.extend_from_slice(&address.to_le_bytes());
    }
    item.ints
        .iter()
        .for_each(|int| to.extend_from_slice(&int.to_le_bytes()));
    item.floats
        .iter()
        .for_each(|float| to.extend_from_slice(&float.to_le_bytes()));
}

fn put_surface(to: &mut Vec<u8>, surface: &Surface) {
    let Surface {
        y,
        uv,
        width,
        height,
        y_stride,
        uv_stride,
        full_range,
        matrix,
    } = *surface;
    for address in [y, uv] {
        to.extend_from_slice(&address.to_le_bytes());
    }
    put(
        to,
        &[width, height, y_stride, uv_stride, full_range, matrix],
    );
}

fn put(to: &mut Vec<u8>, words: &[u32]) {
    words
        .iter()
        .for_each(|word| to.extend_from_slice(&word.to_le_bytes()));
}
