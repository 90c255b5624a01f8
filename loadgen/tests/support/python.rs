//! A trickle server that is not ours: `tests/peers/trickle_server.py`, on aiohttp, which the Python peers use.
//!
//! The interpreter is `MILLSTREAM_PYTHON`, else `.venv/bin/python` at the root of the repository, else `python3`. What is not
//! installed is skipped and says so, unless `MILLSTREAM_REQUIRE_TOOLS` is set.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running server, for as long as this lives.
pub struct PythonServer {
    pub url: String,
    child: Child,
    port_file: PathBuf,
}

impl PythonServer {
    /// Starts it; `None` when there is no aiohttp and none is required.
    pub fn start(name: &str) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let own = root.join("../.venv/bin/python");
        let python = match env::var_os("MILLSTREAM_PYTHON") {
            Some(python) => PathBuf::from(python),
            None if own.exists() => own,
            None => "python3".into(),
        };
        let has_aiohttp = Command::new(&python)
            .args(["-c", "import aiohttp"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !has_aiohttp {
            let python = python.display();
            let why = format!(
                "aiohttp is not installed for {python}; install it with `{python} -m pip install aiohttp`"
            );
            assert!(env::var_os("MILLSTREAM_REQUIRE_TOOLS").is_none(), "{why}");
            println!("SKIPPED: {why}");
            return None;
        }
        let port_file = env::temp_dir().join(format!("loadgen-peer-{name}-{}", std::process::id()));
        let child = Command::new(&python)
            .arg(root.join("tests/peers/trickle_server.py"))
            .arg(&port_file)
            .spawn()
            .expect("python runs");
        let mut server = Self {
            url: String::new(),
            child,
            port_file,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.url.is_empty() {
            assert!(Instant::now() < deadline, "it does not listen");
            if let Ok(port) = fs::read_to_string(&server.port_file) {
                server.url = format!("http://127.0.0.1:{port}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.port_file);
    }
}
