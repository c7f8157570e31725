//! Markers: the name under which a credential can be found at its provider after a crash.

use std::fmt;

use hmac::Mac;
use subtle::ConstantTimeEq;

use crate::id::AttemptId;

/// `kw-<instance>-<epoch>-<attempt>-<mac>`: 48 characters of lower-case letters, digits and `-`, so that it
/// fits the tightest label known (Tailscale allows 50). The MAC is keyed by the instance, so a look-alike made
/// by hand is neither swept nor adopted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marker(String);

/// What makes and recognises the markers of one home.
pub struct MarkerKey {
    instance: InstanceTag,
    key: [u8; 32],
}

/// The four characters that tell one home's markers from another's at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceTag([u8; 4]);

/// Counts up whenever the ledger is restored from a copy, so that markers from a lost future are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u16);

/// What a label found at a provider turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognised {
    /// A marker of this home.
    Ours {
        /// The attempt that it names.
        attempt: AttemptId,
        /// The epoch in which it was made.
        epoch: Epoch,
    },
    /// Shaped like a marker of this home, but its MAC does not verify.
    Forged,
    /// Anything else.
    Foreign,
}

const MAC_CHARS: usize = 9;

impl InstanceTag {
    /// Derives the tag from the instance's random id.
    #[must_use]
    pub fn from_instance(instance: &[u8; 16]) -> Self {
        let text = lower32(instance);
        let mut tag = [b'a'; 4];
        for (to, from) in tag.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self(tag)
    }
}

impl fmt::Display for InstanceTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl MarkerKey {
    /// Binds the 32-byte key (derived from the master key) to the instance's tag.
    #[must_use]
    pub fn new(instance: InstanceTag, key: [u8; 32]) -> Self {
        Self { instance, key }
    }

    /// The marker of an attempt. The same attempt always has the same marker.
    #[must_use]
    pub fn marker(&self, epoch: Epoch, attempt: AttemptId) -> Marker {
        let stem = self.stem(epoch, &lower32(attempt.as_bytes()));
        let mac = self.mac(&stem);
        Marker(format!("{stem}-{mac}"))
    }

    /// Tells whether a label is one of ours. A label may carry more text around the marker only after a space.
    #[must_use]
    pub fn recognise(&self, label: &str) -> Recognised {
        let label = label.split(' ').next().unwrap_or_default();
        let ours = format!("kw-{}-", self.instance);
        let Some(rest) = label.strip_prefix(&ours) else { return Recognised::Foreign };
        let parts: Vec<&str> = rest.split('-').collect();
        let [epoch, attempt, mac] = parts.as_slice() else { return Recognised::Forged };
        let expected = self.mac(label.get(..label.len().saturating_sub(MAC_CHARS + 1)).unwrap_or_default());
        if !bool::from(expected.as_bytes().ct_eq(mac.as_bytes())) {
            return Recognised::Forged;
        }
        match (read_epoch(epoch), read_attempt(attempt)) {
            (Some(epoch), Some(attempt)) => Recognised::Ours { attempt, epoch },
            _ => Recognised::Forged,
        }
    }

    fn stem(&self, epoch: Epoch, attempt: &str) -> String {
        let epoch = lower32(&(epoch.0 & 0x7fff).wrapping_shl(1).to_be_bytes());
        format!("kw-{}-{}-{attempt}", self.instance, epoch.get(..3).unwrap_or_default())
    }

    fn mac(&self, stem: &str) -> String {
        let mut mac = crate::secret::keyed(&self.key);
        mac.update(b"keywright/marker/1\n");
        mac.update(stem.as_bytes());
        let mut text = lower32(&mac.finalize().into_bytes());
        text.truncate(MAC_CHARS);
        text
    }
}

impl Drop for MarkerKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

impl Marker {
    /// The text to put into the provider's name, description, label or tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes a marker back from the ledger, where only [`MarkerKey::marker`] put it.
    #[must_use]
    pub fn from_ledger(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

fn lower32(bytes: &[u8]) -> String {
    data_encoding::BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn read_epoch(text: &str) -> Option<Epoch> {
    // Three characters carry 15 bits; pad them to the 16 that a byte decoder wants.
    let padded = format!("{text}a").to_ascii_uppercase();
    let bytes = data_encoding::BASE32_NOPAD.decode(padded.as_bytes());
    let value = match bytes.ok()?.as_slice() {
        [high, low] => u16::from_be_bytes([*high, *low]),
        _ => return None,
    };
    Some(Epoch(value >> 1))
}

fn read_attempt(text: &str) -> Option<AttemptId> {
    let bytes = data_encoding::BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?;
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    AttemptId::parse(&format!("{}{}", AttemptId::PREFIX, hex::encode(bytes))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(instance: u8) -> MarkerKey {
        MarkerKey::new(InstanceTag::from_instance(&[instance; 16]), [instance; 32])
    }

    #[test]
    fn a_marker_is_48_characters_and_recognised_only_at_home() {
        for epoch in [Epoch(0), Epoch(1), Epoch(31), Epoch(32_767)] {
            let attempt = AttemptId::generate(
                jiff::Timestamp::from_second(1_790_000_000).unwrap(),
                [epoch.0 as u8; 10],
            );
            let marker = key(1).marker(epoch, attempt);
            assert_eq!(marker.as_str().len(), 48, "{marker}");
            assert!(
                marker.as_str().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
            assert_eq!(key(1).recognise(marker.as_str()), Recognised::Ours { attempt, epoch });
            assert_eq!(key(2).recognise(marker.as_str()), Recognised::Foreign);
        }
    }

    #[test]
    fn a_look_alike_is_not_ours() {
        let attempt = AttemptId::generate(jiff::Timestamp::UNIX_EPOCH, [3; 10]);
        let marker = key(1).marker(Epoch(1), attempt);
        for at in 8..48 {
            let mut text = marker.as_str().to_owned().into_bytes();
            text[at] = if text[at] == b'a' { b'b' } else { b'a' };
            let text = String::from_utf8(text).unwrap();
            assert_eq!(key(1).recognise(&text), Recognised::Forged, "{text}");
        }
        for text in ["", "kw-", "my token", "kw-aaaa", &marker.as_str()[..47]] {
            assert!(!matches!(key(1).recognise(text), Recognised::Ours { .. }), "{text}");
        }
    }
}
