//! What a credential used and cost.

use std::fmt;

/// What a credential used and cost in all its life. It only grows: one that stands still is idle, as far as the provider
/// counts what it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// In millionths of a US dollar, as the provider bills it or estimates that it will; `None` where it does not say.
    pub cost_microusd: Option<u64>,
    /// Tokens of language models, in and out, cached ones too; `None` where it does not say.
    pub tokens: Option<u64>,
}

/// `1.23 US dollars, 4567 tokens`; what nobody knows is left out.
impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cost = self.cost_microusd.map(|micro| match micro {
            1..=4_999 => "less than 0.01 US dollars".to_owned(),
            micro => {
                let cents = micro.saturating_add(5_000) / 10_000;
                format!("{}.{:02} US dollars", cents / 100, cents % 100)
            }
        });
        let tokens = self.tokens.map(|tokens| format!("{tokens} tokens"));
        let known: Vec<String> = cost.into_iter().chain(tokens).collect();
        f.write_str(&known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_told_in_dollars_and_tokens_and_what_nobody_knows_is_left_out() {
        let told = |cost_microusd, tokens| Usage { cost_microusd, tokens }.to_string();
        assert_eq!(told(Some(1_234_999), Some(45)), "1.23 US dollars, 45 tokens");
        assert_eq!(told(Some(12), None), "less than 0.01 US dollars");
        assert_eq!(told(Some(0), None), "0.00 US dollars");
        assert_eq!(told(None, Some(7)), "7 tokens");
        assert_eq!(told(None, None), "");
    }
}
