//! A window of the desktop, over the session bus (<https://specifications.freedesktop.org/notification-spec/latest/>). It is asked
//! for over the bus and not by a program: what a program is started with, everybody on the machine can read.

use std::collections::HashMap;

use async_trait::async_trait;
use keywright_core::channel::Notice;
use keywright_core::text::Untrusted;
use keywright_core::verdict::Level;
use zbus::Connection;
use zbus::zvariant::Value;

use super::{Channel, DEADLINE, NotTold, Told, not_told, words};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";
/// What a server says that reads a few marks of HTML in a text.
const MARKUP: &str = "body-markup";

pub(super) struct Desktop {
    bus: Option<String>,
}

impl Desktop {
    pub(super) fn new(bus: Option<&str>) -> Self {
        Self { bus: bus.map(str::to_owned) }
    }

    async fn notify(&self, notice: &Notice) -> Result<(), zbus::Error> {
        let bus = match &self.bus {
            Some(address) => zbus::connection::Builder::address(address.as_str()),
            None => zbus::connection::Builder::session(),
        };
        let bus: Connection = bus?.build().await?;
        let answer = bus.call_method(Some(NAME), PATH, Some(NAME), "GetCapabilities", &()).await?;
        let able: Vec<String> = answer.body().deserialize()?;
        let mut body = words::plain(notice).join("\n");
        if able.iter().any(|one| one == MARKUP) {
            body = body.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        }
        // 2 stays until somebody closes it.
        let urgency: u8 = if notice.level == Some(Level::High) { 2 } else { 1 };
        let hints = HashMap::from([("urgency", Value::U8(urgency))]);
        let (replaces, actions, lasts) = (0u32, Vec::<&str>::new(), -1i32);
        let asked = ("Keywright", replaces, "", notice.heading(), body.as_str(), actions, hints, lasts);
        bus.call_method(Some(NAME), PATH, Some(NAME), "Notify", &asked).await.map(drop)
    }
}

#[async_trait]
impl Channel for Desktop {
    async fn tell(&self, notice: &Notice) -> Result<Told, NotTold> {
        match tokio::time::timeout(DEADLINE, self.notify(notice)).await {
            Ok(Ok(())) => Ok(Told(Untrusted::capped("the desktop shows it", 40))),
            Ok(Err(error)) => Err(not_told("no desktop on the session bus shows it", &error.to_string())),
            Err(_) => Err(not_told(format!("no desktop answered within {} s", DEADLINE.as_secs()), "")),
        }
    }
}
