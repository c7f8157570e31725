//! Change requests: what waits for somebody's approval, and what became of it.
//!
//! A request has units, one for each config, and a unit has updates, one for each name. One that a write or a removal of
//! ours left has one unit with one update; anything else is people's work and is neither judged nor closed. Values show
//! with `reveal` alone, which is asked for where a value has to be compared, and never for a list.
//!
//! A token of one config, and a service account without the permission to see change requests, is refused here (403, or
//! 404 as if there were none): how a change stands is not known then.

use keywright_core::secret::Secret;
use keywright_core::store::{Change, Standing};
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Doppler, Spot};
use crate::rest::{Cause, Failure, body};
use crate::store::remote::Held;
use crate::wire::Call;

/// Where they are.
const REQUESTS: [&str; 3] = ["v3", "workplace", "change_requests"];

/// How many are listed at once, and how many pages are read: the newest come first.
const PER_PAGE: usize = 100;
const PAGES: usize = 10;

/// What is looked for among those that are open.
pub(super) enum Wanted<'a> {
    /// One that sets the name to this value.
    Value(&'a Secret),
    /// One that deletes the name.
    Removal,
}

#[derive(Deserialize)]
struct Shown {
    #[serde(rename = "changeRequest")]
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    id: String,
    status: String,
    #[serde(default)]
    units: Vec<Unit>,
}

#[derive(Deserialize)]
struct Unit {
    status: String,
    target: Target,
    /// Not in a list.
    #[serde(default)]
    updates: Vec<Update>,
}

#[derive(Deserialize)]
struct Target {
    project: Named,
    config: Named,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Named {
    slug: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    name: String,
    #[serde(default)]
    value: Option<Held>,
    #[serde(default)]
    should_delete: Option<bool>,
}

impl Named {
    fn is(&self, wanted: &str) -> bool {
        self.slug == wanted || self.name == wanted
    }
}

impl Request {
    /// Its unit, where it is about this config and nothing else.
    fn unit(&self, spot: &Spot) -> Option<&Unit> {
        let [unit] = self.units.as_slice() else { return None };
        let target = &unit.target;
        (target.project.is(&spot.project) && target.config.is(&spot.config)).then_some(unit)
    }

    /// Its unit and update, where it is about this place and nothing else.
    fn of(&self, spot: &Spot) -> Option<(&Unit, &Update)> {
        let unit = self.unit(spot)?;
        let [update] = unit.updates.as_slice() else { return None };
        (update.name == spot.name).then_some((unit, update))
    }

    fn standing(&self, spot: &Spot) -> Standing {
        match self.of(spot).map(|(unit, _)| unit.status.as_str()) {
            Some("applied") => Standing::Done,
            Some("canceled") => Standing::Closed,
            Some(_) if self.status == "closed" => Standing::Closed,
            Some("open" | "draft") if self.status == "open" => Standing::Open,
            _ => Standing::Untold,
        }
    }
}

impl Update {
    fn is(&self, wanted: &Wanted<'_>) -> bool {
        let deletes = self.should_delete == Some(true);
        match wanted {
            Wanted::Value(secret) => !deletes && self.value.as_ref().is_some_and(|value| value.is(secret)),
            Wanted::Removal => deletes,
        }
    }
}

/// Nothing, where this token may not see it.
fn seen<T>(outcome: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.is_denied() || failure.is_not_found() => Ok(None),
        Err(failure) => Err(failure),
    }
}

impl Doppler {
    /// The id of an open request for this very change.
    pub(super) async fn open_request(
        &self,
        spot: &Spot,
        wanted: &Wanted<'_>,
    ) -> Result<Option<String>, Failure> {
        for page in 1..=PAGES {
            let mut call = Call::get(REQUESTS.to_vec(), &self.token);
            call.query = vec![
                ("page", page.to_string()),
                ("per_page", PER_PAGE.to_string()),
                ("status", "open".to_owned()),
            ];
            let Some(listed) = seen(self.rest.json::<Vec<Request>>(call).await)? else { return Ok(None) };
            for request in listed.iter().filter(|r| r.status == "open" && r.unit(spot).is_some()) {
                if self.is_for(spot, &request.id, wanted).await? {
                    return Ok(Some(request.id.clone()));
                }
            }
            if listed.len() < PER_PAGE {
                break;
            }
        }
        Ok(None)
    }

    /// Whether an open request is for this change. Its value is looked at once everything else fits.
    async fn is_for(&self, spot: &Spot, id: &str, wanted: &Wanted<'_>) -> Result<bool, Failure> {
        let Some(request) = self.request(id, false).await? else { return Ok(false) };
        let deletes = matches!(wanted, Wanted::Removal);
        let fits = request.standing(spot) == Standing::Open
            && request.of(spot).is_some_and(|(_, update)| (update.should_delete == Some(true)) == deletes);
        if !fits || deletes {
            return Ok(fits);
        }
        let revealed = self.request(id, true).await?;
        Ok(revealed.is_some_and(|request| request.of(spot).is_some_and(|(_, update)| update.is(wanted))))
    }

    async fn request(&self, id: &str, reveal: bool) -> Result<Option<Request>, Failure> {
        let mut call = Call::get([&REQUESTS[..], &["change_request", id]].concat(), &self.token);
        if reveal {
            call.query = vec![("reveal", "true".to_owned())];
        }
        Ok(seen(self.rest.json::<Shown>(call).await)?.map(|shown| shown.request))
    }

    pub(super) async fn standing_of(&self, spot: &Spot, change: &Change) -> Result<Standing, Failure> {
        let Some(id) = change.id() else { return Ok(Standing::Untold) };
        Ok(self.request(id, false).await?.map_or(Standing::Untold, |request| request.standing(spot)))
    }

    /// Closes a request that is open. How it stands then is looked at, for somebody may have been faster.
    pub(super) async fn close(&self, spot: &Spot, change: &Change) -> Result<Standing, Failure> {
        let before = self.standing_of(spot, change).await?;
        let (Some(id), Standing::Open) = (change.id(), before) else { return Ok(before) };
        let path = [&REQUESTS[..], &["change_request", id, "close"]].concat();
        let call = Call::again(Method::POST, path, &self.token, body(&serde_json::Map::new())?);
        let closed = seen(self.rest.json::<IgnoredAny>(call).await);
        match (self.standing_of(spot, change).await?, closed) {
            // It may look at it, and not close it.
            (Standing::Open, Ok(None)) => Ok(Standing::Untold),
            (Standing::Open, Err(Failure { cause: Cause::Refused { .. }, .. })) => Ok(Standing::Untold),
            (Standing::Open, Err(failure)) => Err(failure),
            (Standing::Open, Ok(Some(_))) => {
                Err(Failure::unavailable("it says that the change request is closed, and shows it open"))
            }
            (after, _) => Ok(after),
        }
    }
}
