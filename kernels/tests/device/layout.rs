//! `item.rs` and `item.cuh` are the same, field by field.

use std::mem::offset_of;
use std::process::Command;

use kernels::{Item, Surface};

use crate::host::compile;

#[test]
fn rust_and_cuda_agree_on_every_field() {
    let mut expected = vec![
        ("Surface".to_owned(), size_of::<Surface>()),
        ("Item".to_owned(), size_of::<Item>()),
        ("alignof Item".to_owned(), align_of::<Item>()),
    ];
    macro_rules! fields {
        ($of:ident: $($field:ident)+) => {
            // A field that is added to one of them and not here is a compile error.
            let $of { $($field: _),+ } = $of::default();
            $(expected.push((concat!(stringify!($of), ".", stringify!($field)).to_owned(), offset_of!($of, $field)));)+
        };
    }
    fields!(Surface: y uv width height y_stride uv_stride full_range matrix);
    fields!(Item: src dst aux scratch ints floats);

    let program = compile("layout", &["tests/host/layout.cpp"]);
    let output = Command::new(program).output().expect("it runs");
    let said = String::from_utf8(output.stdout).expect("text");
    let found: Vec<(String, usize)> = said
        .lines()
        .map(|line| {
            let (name, bytes) = line.rsplit_once(' ').expect("a name and a number");
            (name.to_owned(), bytes.parse().expect("a number"))
        })
        .collect();
    assert_eq!(found, expected);
}
