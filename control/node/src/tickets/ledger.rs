//! What was recorded of payments, for people and for programs.

use std::fmt::Write as _;
use std::path::PathBuf;

use control::store::{Error, Store};
use control::ticket::book::{self, Book};
use serde_json::{Value, json};

use crate::failure::{Failure, Reason};

pub(super) fn run(data_dir: Option<PathBuf>, as_json: bool) -> Result<String, Failure> {
    let failure = |why: String| {
        let fix = "give --data-dir the directory of a node that takes payments";
        Failure::new(
            Reason::Payments,
            "there is no record of payments to show",
            why,
            fix,
        )
    };
    let dir =
        data_dir.ok_or_else(|| failure("neither XDG_DATA_HOME nor HOME is set".to_owned()))?;
    let read = || -> Result<_, Error> {
        let store = Store::look(&dir)?;
        Ok((store.book(book::Limits::default())?, store.winners()?))
    };
    let (book, winners) = read().map_err(|error| failure(error.to_string()))?;
    Ok(match as_json {
        true => format!("{:#}\n", json(&book, winners)),
        false => text(&book, winners),
    })
}

fn json(book: &Book, (winners, open): (u64, u64)) -> Value {
    let accounts: Vec<_> = book
        .accounts()
        .map(|(_, account)| {
            json!({
                "sender": account.sender.to_string(),
                "account": account.name.as_str(),
                "price_wei": account.price.wei(),
                "price_pixels": account.price.pixels(),
                "credit_parts": account.credit.parts().to_string(),
                "credit_wei": account.credit.floor_wei().to_string(),
                "pixels": account.pixels.to_string(),
                "balance_wei": account.balance().to_string(),
                "touched_block": account.touched_block,
            })
        })
        .collect();
    json!({
        "schema": "millstream.ledger/1",
        "block": book.block(),
        "accounts": accounts,
        "commitments": book.commitments().count(),
        "winners": winners,
        "winners_open": open,
    })
}

fn text(book: &Book, (winners, open): (u64, u64)) -> String {
    let mut out = String::new();
    let mut accounts: Vec<_> = book.accounts().map(|(_, account)| account).collect();
    accounts.sort_by_key(|account| (account.sender, account.name));
    let _ = writeln!(
        out,
        "{:<42}  {:<24}  {:>24}  {:>24}  price",
        "sender", "account", "credit (wei)", "balance (wei)"
    );
    for account in &accounts {
        let _ = writeln!(
            out,
            "{:<42}  {:<24}  {:>24}  {:>24}  {} wei a pixel",
            account.sender.to_string(),
            account.name.as_str(),
            account.credit.floor_wei().to_string(),
            account.balance().to_string(),
            account.price
        );
    }
    let _ = writeln!(
        out,
        "\n{} accounts, {} sets of ticket parameters that have not expired at L1 block {}; {winners} winning tickets, {open} of them open",
        accounts.len(),
        book.commitments().count(),
        book.block()
    );
    out
}
