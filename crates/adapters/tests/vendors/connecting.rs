//! What an operator gives to connect, and what is said when it does not fit.

use keywright_adapters::store::StoreConnectError;

use crate::support::opened::open;

const VAULT_ID: (&str, &str) = ("vault", "abcdefghijklmnopqrstuvwxyz");

#[test]
fn what_is_missing_is_named_as_it_is_given() {
    for (kind, settings) in [("vault", &[][..]), ("kubernetes", &[]), ("1password", &[VAULT_ID])] {
        let error = open(kind, None, settings, Some("token")).err().unwrap();
        assert!(matches!(error, StoreConnectError::Address { .. }), "{error}");
        assert!(error.to_string().contains("needs `--address`: the "), "{error}");
        let error =
            open(kind, Some("http://vault.example"), settings, Some("token")).err().unwrap().to_string();
        assert!(error.contains("`--address`") && error.contains("not https"), "{error}");
    }
    let error = open("pass", Some("https://pass.example"), &[], None).err().unwrap().to_string();
    assert!(error.contains("takes no `--address`"), "{error}");
}
