//! What a project may spend in a month: `GET /organization/projects/{project}/spend_limit`.

use std::fmt;

use super::shapes::SpendLimit;
use crate::rest::Failure;

/// The monthly limit that a project enforces. Its `Display` is the parameter in its one spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spending {
    Unlimited,
    /// In cents of a US dollar.
    Cents(u64),
}

impl Spending {
    /// A limit that is not enforced is none.
    pub(super) fn of(said: &SpendLimit) -> Result<Self, Failure> {
        if said.enforcement.status != "enforcing" {
            return Ok(Self::Unlimited);
        }
        if said.currency.eq_ignore_ascii_case("usd") && said.interval == "month" {
            return Ok(Self::Cents(said.threshold_amount));
        }
        Err(Failure::garbled("the spend limit is none in US dollars a month".to_owned()))
    }

    /// Reads a parameter: `none`, or US dollars as in `50` or `12.50`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::Unlimited);
        }
        let (dollars, cents) = text.split_once('.').unwrap_or((text, "00"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(dollars) || !digits(cents) || cents.len() != 2 {
            return None;
        }
        let whole = dollars.parse::<u64>().ok()?.checked_mul(100)?;
        whole.checked_add(cents.parse().ok()?).map(Self::Cents)
    }
}

impl fmt::Display for Spending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("none"),
            Self::Cents(cents) if cents % 100 == 0 => write!(f, "{}", cents / 100),
            Self::Cents(cents) => write!(f, "{}.{:02}", cents / 100, cents % 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(cents: u64, currency: &str, interval: &str, status: &str) -> Result<Spending, Failure> {
        let limit = serde_json::json!({"threshold_amount": cents, "currency": currency, "interval": interval,
            "enforcement": {"status": status}});
        Spending::of(&serde_json::from_value(limit).unwrap())
    }

    #[test]
    fn a_parameter_is_dollars_and_has_one_spelling() {
        for (text, spending, spelled) in [
            ("none", Spending::Unlimited, "none"),
            ("50", Spending::Cents(5_000), "50"),
            ("50.00", Spending::Cents(5_000), "50"),
            ("12.50", Spending::Cents(1_250), "12.50"),
            ("0.05", Spending::Cents(5), "0.05"),
        ] {
            assert_eq!(Spending::parse(text), Some(spending), "{text}");
            assert_eq!(spending.to_string(), spelled);
        }
        for text in ["", "any", "-1", "1.5", "1.", ".50", "1e3", "$5", "99999999999999999999", "1,000"] {
            assert_eq!(Spending::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_enforced_is_no_limit_and_another_currency_or_interval_is_not_guessed() {
        assert_eq!(said(5_000, "USD", "month", "enforcing").unwrap(), Spending::Cents(5_000));
        assert_eq!(said(5_000, "USD", "month", "inactive").unwrap(), Spending::Unlimited);
        assert!(said(5_000, "EUR", "month", "enforcing").is_err());
        assert!(said(5_000, "USD", "year", "enforcing").is_err());
    }
}
