//! 1Password through its program `op`, which can't be had here: the contract before a stand-in of the program, which
//! reaches a stand-in of Connect.

use std::os::unix::fs::PermissionsExt as _;

use keywright_core::store::{Presence, Store, StoreError};
use keywright_sandbox::vendors::onepassword::VAULT;
use keywright_sandbox::vendors::{Running, start};
use tempfile::TempDir;

use crate::onepassword::{Admin, case, leaves_a_persons_field, replaces_in_one_item};
use crate::support::contract::{Network, StoreCase, keeps_the_stores_contract};
use crate::support::opened::open;
use crate::support::peers::programs;
use crate::support::stores::{destination, placed, refuses};

/// The program, for one server.
struct Program {
    dir: TempDir,
}

impl Program {
    fn before(url: &str) -> Option<Self> {
        if !programs(&["python3"]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let text = include_str!("support/op.py").replace("SERVER", url);
        let program = Self { dir };
        std::fs::write(program.path(), format!("#!/usr/bin/env python3\n{text}")).unwrap();
        std::fs::set_permissions(program.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Some(program)
    }

    fn path(&self) -> String {
        self.dir.path().join("op").to_str().unwrap().to_owned()
    }

    fn store(&self, connect: &Running) -> Box<dyn Store> {
        let settings = [("vault", VAULT), ("program", &self.path())];
        open("1password-cli", None, &settings, Some(&connect.parent)).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    if !programs(&["python3"]) {
        return;
    }
    keeps_the_stores_contract(async || {
        let connect = start("1password").await.unwrap();
        let parent = connect.parent.clone();
        let open = Box::new(move |url: &str| {
            let program = Program::before(url).unwrap();
            let settings = [("vault", VAULT), ("program", &program.path())];
            let store = open("1password-cli", None, &settings, Some(&parent)).unwrap();
            // It is there as long as the test.
            std::mem::forget(program);
            store
        });
        let case = case(connect, open).await;
        let network = case.network.map(|network| Network { is_ours: false, ..network });
        StoreCase { network, ..case }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_keeps_what_else_the_item_has() {
    let connect = start("1password").await.unwrap();
    let Some(program) = Program::before(&connect.base_url) else { return };
    let (store, admin) = (program.store(&connect), Admin::of(&connect));
    replaces_in_one_item(store.as_ref(), &admin).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_and_a_vault_that_is_not_reached_are_named() {
    let connect = start("1password").await.unwrap();
    let Some(program) = Program::before(&connect.base_url) else { return };
    let store = program.store(&connect);
    store.check().await.unwrap();
    assert_eq!(destination(store.as_ref(), "CF").await.place.place, "CF#credential");
    refuses(store.as_ref(), "a b").await;
    let (at, _) = placed(store.as_ref(), "web-dev-NONE", 1).await;
    assert!(matches!(store.look(&at).await.unwrap(), Presence::Ours { .. }));
    let nowhere = [("vault", VAULT), ("program", "/nowhere/op")];
    let nowhere = open("1password-cli", None, &nowhere, Some("token")).unwrap();
    let error = nowhere.check().await.unwrap_err();
    assert!(error.to_string().contains("`/nowhere/op` can't be started"), "{error}");
    let settings = [("vault", VAULT), ("program", &program.path())];
    let stranger = open("1password-cli", None, &settings, Some("not-the-token")).unwrap();
    let error = stranger.check().await.unwrap_err();
    assert!(matches!(error, StoreError::Unauthorized { .. }), "{error}");
    assert!(open("1password-cli", None, &[("vault", VAULT), ("program", "bin/op")], Some("token")).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_put_beside_the_value_stays() {
    let connect = start("1password").await.unwrap();
    let Some(program) = Program::before(&connect.base_url) else { return };
    leaves_a_persons_field(program.store(&connect).as_ref(), &Admin::of(&connect)).await;
}

#[test]
fn a_program_that_others_may_change_is_refused() {
    let Some(program) = Program::before("http://127.0.0.1:9") else { return };
    std::fs::set_permissions(program.path(), std::fs::Permissions::from_mode(0o722)).unwrap();
    let settings = [("vault", VAULT), ("program", &program.path())];
    assert!(open("1password-cli", None, &settings, Some("token")).is_err());
}
