//! Agents, workloads and operators whose rows somebody edited in the ledger's file.

use std::collections::BTreeSet;

use keywright_core::name::OperatorName;
use keywright_core::secret::Secret;
use keywright_ledger::seal::{Keyring, MasterKey, SlotCost};
use keywright_ledger::{LedgerError, OperatorKeys};

use crate::support::{Home, INSTANCE};

const TABLES: [&str; 3] = ["agents", "workloads", "operators"];

/// A home with two rows in each table: `one`, and `two` who differs in everything.
async fn home() -> (Home, MasterKey) {
    let home = Home::new();
    let master = MasterKey::generate().unwrap();
    let ledger = home.open();
    for (number, name) in [(1u8, "one"), (2, "two")] {
        let ring = master.keyring(INSTANCE);
        let operator: OperatorName = name.parse().unwrap();
        let cost = SlotCost { memory_kib: 64, passes: 1, lanes: 1 };
        let passphrase = Secret::new(format!("passphrase {name}"));
        let keys = OperatorKeys::seal(&operator, &passphrase, &master, None, cost).unwrap();
        let added = ledger.write(move |tx| {
            let (project, environment) = (name.parse().unwrap(), name.parse().unwrap());
            let (agent, workload) = (name.parse().unwrap(), name.parse().unwrap());
            tx.add_agent(&agent, &[number; 32], &operator, &ring)?;
            tx.add_workload(&workload, &[number; 32], &project, Some(&environment), &operator, &ring)?;
            tx.add_operator(&operator, &keys, &ring).map(drop)
        });
        added.await.unwrap_or_else(|error: LedgerError| panic!("{error}"));
        home.pass(60);
    }
    (home, master)
}

/// The names that count in a table, and the errors of the rows that don't.
async fn rows(home: &Home, table: &str, ring: Keyring) -> (BTreeSet<String>, Vec<LedgerError>) {
    let (ledger, table) = (home.open(), table.to_owned());
    let read = ledger.read(move |tx| {
        Ok::<Vec<Result<String, LedgerError>>, LedgerError>(match table.as_str() {
            "agents" => tx.agents(&ring)?.into_iter().map(|a| a.map(|a| a.name.to_string())).collect(),
            "workloads" => tx.workloads(&ring)?.into_iter().map(|w| w.map(|w| w.name.to_string())).collect(),
            _ => tx.operators(&ring)?.into_iter().map(|o| o.map(|o| o.name.to_string())).collect(),
        })
    });
    let (mut names, mut errors) = (BTreeSet::new(), Vec::new());
    for row in read.await.unwrap() {
        match row {
            Ok(name) => drop(names.insert(name)),
            Err(error) => errors.push(error),
        }
    }
    (names, errors)
}

fn columns(home: &Home, table: &str) -> Vec<String> {
    let of = match &home.server {
        None => format!("SELECT name FROM pragma_table_info('{table}')"),
        Some(_) => format!("SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"),
    };
    home.values(&of)
}

#[tokio::test]
async fn a_row_of_which_any_column_was_edited_counts_for_nothing_and_takes_no_other_with_it() {
    for table in TABLES {
        let (home, master) = home().await;
        let both = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
        assert_eq!(
            rows(&home, table, master.keyring(INSTANCE)).await.0,
            both,
            "{table}: or nothing is shown"
        );
        let columns = columns(&home, table);
        assert!(columns.len() >= 6, "{columns:?}");
        for column in columns.iter().filter(|column| *column != "removed_at") {
            let new = match column.as_str() {
                "name" => "'uno'".to_owned(),
                "environment" => "NULL".to_owned(),
                // A number more, or the value with its last byte changed: every column has its own form.
                "added_at" | "slot_memory_kib" | "slot_passes" | "slot_lanes" => format!("{column} + 1"),
                "project" | "added_by" => "'two'".to_owned(),
                _ => {
                    let (zero, one) = (home.literal(&[0]), home.literal(&[1]));
                    let shorter = format!(
                        "substr({column}, 1, length({column}) - 1) || \
                         CASE substr({column}, length({column}), 1) WHEN {zero} THEN {one} ELSE {zero} END"
                    );
                    if home.server.is_some() { shorter } else { format!("CAST({shorter} AS BLOB)") }
                }
            };
            let copy = home.kept();
            home.tamper(&format!("UPDATE {table} SET {column} = {new} WHERE name = 'one'"));
            let (left, errors) = rows(&home, table, master.keyring(INSTANCE)).await;
            assert_eq!(left, BTreeSet::from(["two".to_owned()]), "{table}.{column}");
            let [LedgerError::Edited { name, .. }] = errors.as_slice() else {
                panic!("{column}: {errors:?}")
            };
            assert_eq!(name.raw(), if column == "name" { "uno" } else { "one" });
            home.put_back(&copy);
        }
    }
}

#[tokio::test]
async fn a_row_that_was_removed_and_is_made_to_look_as_if_it_were_not_counts_for_nothing() {
    let (home, master) = home().await;
    let ring = master.keyring(INSTANCE);
    let ledger = home.open();
    let removed = ledger.write(move |tx| {
        tx.remove_agent(&"one".parse().unwrap(), &ring)?;
        tx.remove_workload(&"one".parse().unwrap(), &ring)?;
        tx.remove_operator(&"one".parse().unwrap(), &ring)
    });
    removed.await.unwrap_or_else(|error: LedgerError| panic!("{error}"));
    for table in TABLES {
        let two = BTreeSet::from(["two".to_owned()]);
        let (left, errors) = rows(&home, table, master.keyring(INSTANCE)).await;
        assert!(left == two && errors.is_empty(), "{table}: {errors:?}");
        home.tamper(&format!("UPDATE {table} SET removed_at = NULL WHERE name = 'one'"));
        let (left, errors) = rows(&home, table, master.keyring(INSTANCE)).await;
        assert!(left == two && errors.len() == 1, "{table}: {errors:?}");
    }
}

#[tokio::test]
async fn what_vouches_for_one_row_vouches_for_no_other() {
    let (home, master) = home().await;
    for table in TABLES {
        home.tamper(&format!(
            "CREATE TEMP TABLE {table}_kept AS SELECT name, mac FROM {table}; \
             UPDATE {table} SET mac = (SELECT mac FROM {table}_kept AS kept WHERE kept.name <> {table}.name)"
        ));
        let (left, errors) = rows(&home, table, master.keyring(INSTANCE)).await;
        assert!(left.is_empty() && errors.len() == 2, "{table}: {left:?}");
    }
    let stranger = MasterKey::generate().unwrap().keyring(INSTANCE);
    let (home, _) = self::home().await;
    assert!(rows(&home, "agents", stranger).await.0.is_empty(), "another home's key vouches for nothing");
}

#[tokio::test]
async fn an_edited_row_can_be_removed_and_not_be_made_good() {
    let (home, master) = home().await;
    home.tamper("UPDATE operators SET public_key = zeroblob(32) WHERE name = 'one'");
    let (one, two): (OperatorName, OperatorName) = ("one".parse().unwrap(), "two".parse().unwrap());
    let cost = SlotCost { memory_kib: 64, passes: 1, lanes: 1 };
    let keys = OperatorKeys::seal(&one, &Secret::new("new".to_owned()), &master, None, cost).unwrap();
    let (ring, ledger, whose) = (master.keyring(INSTANCE), home.open(), one.clone());
    let wrapped = ledger.write(move |tx| tx.rewrap_operator(&whose, &keys, &ring)).await;
    assert!(matches!(wrapped, Err(LedgerError::Edited { .. })), "{wrapped:?}");
    let ring = master.keyring(INSTANCE);
    let last = ledger.write(move |tx| tx.remove_operator(&two, &ring)).await;
    assert!(
        matches!(last, Err(LedgerError::LastOperator)),
        "who counts for nothing does not stay as the last"
    );
    let ring = master.keyring(INSTANCE);
    ledger.write(move |tx| tx.remove_operator(&one, &ring)).await.unwrap();
    assert!(rows(&home, "operators", master.keyring(INSTANCE)).await.1.is_empty());
}

#[tokio::test]
async fn a_name_that_differs_in_case_only_is_taken() {
    let (home, master) = home().await;
    let ring = master.keyring(INSTANCE);
    let ledger = home.open();
    let tried = ledger.write(move |tx| {
        let by: OperatorName = "one".parse().unwrap();
        let agent = tx.add_agent(&"ONE".parse().unwrap(), &[9; 32], &by, &ring);
        let project = "web".parse().unwrap();
        let workload = tx.add_workload(&"One".parse().unwrap(), &[9; 32], &project, None, &by, &ring);
        let cost = SlotCost { memory_kib: 64, passes: 1, lanes: 1 };
        let name: OperatorName = "oNe".parse().unwrap();
        let keys = OperatorKeys::seal(&name, &Secret::new("p".to_owned()), ring.master(), None, cost)?;
        Ok::<_, LedgerError>([agent, workload, tx.add_operator(&name, &keys, &ring)])
    });
    for refused in tried.await.unwrap() {
        let Err(LedgerError::Alike { existing, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(existing, "one");
    }
}
