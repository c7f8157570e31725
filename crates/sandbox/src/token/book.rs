//! All tokens, in the order in which they were issued, and every value that was ever shown.

use super::{Owner, Token};

/// How many dead values are remembered for canary tests.
const MOST_RETIRED: usize = 100_000;

/// The tokens. Quotas keep the list short (hundreds), so it is searched from the start.
#[derive(Clone, Default)]
pub(crate) struct TokenBook {
    tokens: Vec<Token>,
    retired: Vec<String>,
}

impl TokenBook {
    /// Adds a token.
    pub(crate) fn add(&mut self, token: Token) {
        self.tokens.push(token);
    }

    /// The token with this value.
    pub(crate) fn by_value(&self, value: &str) -> Option<&Token> {
        self.tokens.iter().find(|token| token.value == value)
    }

    /// The token with this id.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Token> {
        self.tokens.iter().find(|token| token.id == id)
    }

    /// The token with this id, to change it.
    pub(crate) fn by_id_mut(&mut self, id: &str) -> Option<&mut Token> {
        self.tokens.iter_mut().find(|token| token.id == id)
    }

    /// An owner's tokens, oldest first.
    pub(crate) fn of<'a>(&'a self, owner: &'a Owner) -> impl Iterator<Item = &'a Token> {
        self.tokens.iter().filter(move |token| token.owner == *owner)
    }

    /// All tokens, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Token> {
        self.tokens.iter()
    }

    /// Deletes an owner's token. Its value stops working with this call.
    pub(crate) fn remove(&mut self, owner: &Owner, id: &str) -> bool {
        let Some(place) = self.tokens.iter().position(|token| token.id == id && token.owner == *owner) else {
            return false;
        };
        let gone = self.tokens.remove(place);
        self.retire(gone.value);
        true
    }

    /// Takes a token out of its place in the list.
    pub(crate) fn lift(&mut self, id: &str) -> Option<(usize, Token)> {
        let place = self.tokens.iter().position(|token| token.id == id)?;
        Some((place, self.tokens.remove(place)))
    }

    /// Puts a lifted token back.
    pub(crate) fn put_back(&mut self, place: usize, token: Token) {
        self.tokens.insert(place.min(self.tokens.len()), token);
    }

    /// Gives a token a new value; the old one stops working with this call.
    pub(crate) fn roll(&mut self, id: &str, value: String) {
        if let Some(token) = self.by_id_mut(id) {
            let old = std::mem::replace(&mut token.value, value);
            self.retire(old);
        }
    }

    /// Every value that was ever issued, dead ones included.
    pub(crate) fn values(&self) -> Vec<String> {
        self.retired.iter().cloned().chain(self.tokens.iter().map(|token| token.value.clone())).collect()
    }

    fn retire(&mut self, value: String) {
        if self.retired.len() < MOST_RETIRED {
            self.retired.push(value);
        }
    }
}
