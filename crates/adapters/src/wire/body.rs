//! Reading a body that may be too long, while wiping what it leaves behind.

use reqwest::Response;
use zeroize::Zeroizing;

use super::{Fault, innermost};

/// Reads a body of at most `limit` bytes. Chunks below us are freed without wiping: they belong to the HTTP library.
pub(super) async fn read(mut response: Response, limit: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let too_large = || Fault::TooLarge { limit };
    let announced = response.content_length().unwrap_or(0);
    if announced > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let mut body = Zeroizing::new(Vec::with_capacity(usize::try_from(announced).unwrap_or(0).max(4_096)));
    while let Some(chunk) = response.chunk().await.map_err(|error| Fault::Lost { why: innermost(&error) })? {
        if chunk.len() > limit.saturating_sub(body.len()) {
            return Err(too_large());
        }
        append(&mut body, &chunk);
    }
    Ok(body)
}

/// Appends without letting the vector move by itself, which would leave an unwiped copy behind.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let needed = body.len() + chunk.len();
    if needed > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(body.capacity() * 2)));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}
