//! The generated code is what the definitions say.

#![forbid(unsafe_code)]

use std::path::Path;

#[test]
fn the_checked_in_code_is_what_the_definitions_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["net/lp_rpc.proto", "net/redeemer.proto"].map(|file| root.join(file));
    let descriptors = protox::compile(files, [root]).expect("the definitions compile");
    let out = std::env::temp_dir().join(format!("millstream-proto-{}", std::process::id()));
    std::fs::create_dir_all(&out).expect("a directory");
    tonic_prost_build::configure()
        .out_dir(&out)
        .build_transport(false)
        // In the order of their keys, so that the same message always has the same bytes.
        .btree_map(".")
        .compile_fds(descriptors)
        .expect("code is generated");
    let fresh = std::fs::read_to_string(out.join("net.rs")).expect("the code");
    drop(std::fs::remove_dir_all(&out));
    let checked_in = root.join("src/net.rs");
    if std::env::var_os("MILLSTREAM_REGENERATE").is_some() {
        std::fs::write(&checked_in, &fresh).expect("the code is written");
    }
    let kept = std::fs::read_to_string(&checked_in).unwrap_or_default();
    assert!(
        kept == fresh,
        "proto/src/net.rs is not what proto/net says: run `MILLSTREAM_REGENERATE=1 cargo test -p proto --test generated`, and commit it"
    );
}
