//! Clients that are not ours: aiohttp, which the Python peers use, and curl.
//!
//! The interpreter is `MILLSTREAM_PYTHON`, else `.venv/bin/python` at the root of the repository, else `python3`; an older
//! aiohttp, whose sockets behave otherwise, is looked for in `MILLSTREAM_PYTHON_OLD` or `.venv-old`. What is not installed is
//! skipped and says so, unless `MILLSTREAM_REQUIRE_TOOLS` is set.

mod support;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::{World, for_each_world, ms, noise};

#[test]
fn aiohttp_publishes_and_subscribes() {
    let python = python("MILLSTREAM_PYTHON", ".venv").unwrap_or_else(|| "python3".into());
    with_aiohttp(&python, "aiohttp");
}

#[test]
fn an_older_aiohttp_publishes_and_subscribes() {
    match python("MILLSTREAM_PYTHON_OLD", ".venv-old") {
        Some(python) => with_aiohttp(&python, "'aiohttp<3.12'"),
        None => skip(
            "there is no older aiohttp; make one with `python3 -m venv .venv-old && .venv-old/bin/pip install 'aiohttp<3.12'`",
        ),
    }
}

fn with_aiohttp(python: &Path, package: &str) {
    if !Command::new(python)
        .args(["-c", "import aiohttp"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        let python = python.display();
        return skip(&format!(
            "aiohttp is not installed for {python}; install it with `{python} -m pip install {package}`"
        ));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/aiohttp_client.py");
    for_each_world(|world| {
        for style in ["pool", "close"] {
            let name = world.channel();
            let output = Command::new(python)
                .arg(&script)
                .args([&url(world, &name), style, "8"])
                .output()
                .expect("python runs");
            print!(
                "{}: {}",
                world.label,
                String::from_utf8_lossy(&output.stdout)
            );
            assert!(
                output.status.success(),
                "{style}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    });
}

#[test]
fn curl_publishes_from_a_pipe_and_subscribes_while_it_arrives() {
    if !has_curl() {
        return;
    }
    for_each_world(|world| {
        let name = world.channel();
        let mut reader = curl(&["-N", &url(world, &format!("{name}/0"))]);
        let mut publisher = curl(&[
            "-T",
            "-",
            "-X",
            "POST",
            "-H",
            "Transfer-Encoding: chunked",
            "-H",
            "Expect:",
            &url(world, &format!("{name}/0")),
        ]);
        let (mut pipe, mut got) = (
            publisher.stdin.take().expect("a pipe"),
            reader.stdout.take().expect("a pipe"),
        );
        for n in 0..10 {
            let piece = noise(n, 3000);
            pipe.write_all(&piece).expect("curl reads");
            pipe.flush().expect("curl reads");
            let mut read = vec![0; piece.len()];
            got.read_exact(&mut read).expect("curl writes");
            assert!(read == piece, "piece {n}, before the next was sent");
        }
        drop(pipe);
        succeeded(publisher);
        let mut rest = Vec::new();
        got.read_to_end(&mut rest).expect("curl ends");
        assert_eq!(rest, b"");
        succeeded(reader);
    });
}

#[test]
fn curl_expects_100_continue_for_a_large_body() {
    if !has_curl() {
        return;
    }
    for_each_world(|world| {
        let name = world.channel();
        let body = noise(9, 3 << 20);
        for (seq, how) in [
            (0, &["--data-binary", "@-"][..]),
            (1, &["-T", "-", "-X", "POST"]),
        ] {
            let began = std::time::Instant::now();
            let target = url(world, &format!("{name}/{seq}"));
            let arguments = [
                how,
                &[
                    "-v",
                    "-H",
                    "Expect: 100-continue",
                    "-H",
                    "Content-Type: video/mp2t",
                    &target,
                ],
            ]
            .concat();
            let mut publisher = curl(&arguments);
            publisher
                .stdin
                .take()
                .expect("a pipe")
                .write_all(&body)
                .expect("curl reads");
            let output = succeeded(publisher);
            let heard = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(heard.contains("< HTTP/1.1 100 Continue"), "{heard}");
            assert!(
                heard.contains(&format!("< Lp-Trickle-Seq: {seq}")),
                "{heard}"
            );
            assert!(began.elapsed() < ms(8000));
            let read = succeeded(curl(&["-N", &url(world, &format!("{name}/{seq}"))])).stdout;
            assert!(read == body);
        }
    });
}

#[test]
fn curl_sees_every_kind_of_answer() {
    if !has_curl() {
        return;
    }
    for_each_world(|world| {
        let name = world.channel();
        let code = |arguments: &[&str], path: &str| {
            let target = url(world, path);
            let output = succeeded(curl(
                &[
                    &["-o", "/dev/null", "-w", "%{http_code}"],
                    arguments,
                    &[&target],
                ]
                .concat(),
            ));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(code(&["--data-binary", "x"], &format!("{name}/0")), "200");
        assert_eq!(code(&["--data-binary", ""], &format!("{name}/1")), "200");
        assert_eq!(code(&["--head"], &format!("{name}/next")), "200");
        // It would offer `http/1.0` as its only protocol, which TLS has no name for on our side.
        assert_eq!(
            code(&["--http1.0", "--no-alpn"], &format!("{name}/0")),
            "200"
        );
        assert_eq!(code(&[], &format!("{name}/9")), "470");
        assert_eq!(code(&[], &format!("{name}/abc")), "400");
        assert_eq!(code(&["-X", "PUT"], &name), "405");
        assert_eq!(code(&["-X", "DELETE"], &name), "200");
        assert_eq!(code(&["-X", "DELETE"], &name), "400");
        assert_eq!(code(&["--data-binary", "x"], &format!("{name}/2")), "404");
    });
}

fn curl(arguments: &[&str]) -> Child {
    let version = if arguments.contains(&"--http1.0") {
        "--http1.0"
    } else {
        "--http1.1"
    };
    Command::new("curl")
        .args(["-sS", "-k", "--max-time", "30", version])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl runs")
}

#[track_caller]
fn succeeded(child: Child) -> Output {
    let output = child.wait_with_output().expect("curl ends");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn has_curl() -> bool {
    let found = Command::new("curl")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if !found {
        skip("curl is not installed; install it with your package manager");
    }
    found
}

fn url(world: &World, path: &str) -> String {
    let scheme = if world.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}/ai/trickle/{path}", world.addr)
}

/// The interpreter that `variable` names, or the one of a virtual environment at the root of the repository.
fn python(variable: &str, environment: &str) -> Option<PathBuf> {
    let of_environment = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(environment)
        .join("bin/python");
    std::env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| of_environment.exists().then_some(of_environment))
}

fn skip(why: &str) {
    assert!(
        std::env::var_os("MILLSTREAM_REQUIRE_TOOLS").is_none(),
        "MILLSTREAM_REQUIRE_TOOLS is set, and {why}"
    );
    println!("SKIPPED: {why}");
}
