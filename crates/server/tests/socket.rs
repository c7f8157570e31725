//! The socket under connections that say nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use keywright_server::call::Call;
use keywright_server::socket;
use keywright_testkit::World;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// As many connections as the socket has places.
const PLACES: usize = 256;

#[tokio::test]
async fn connections_that_say_nothing_make_room_the_oldest_first() {
    let world = World::new().await;
    let path = world.home.join("broker.sock");
    let listener = socket::listen(&path).unwrap();
    let (stop, _stopped) = watch::channel(false);
    let serving = tokio::spawn(socket::serve(listener, Arc::clone(&world.broker), stop));
    let mut silent = Vec::new();
    for number in 0..PLACES {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        if number % 2 == 0 {
            // Half a line is no line.
            stream.write_all(b"{\"from\":").await.unwrap();
        }
        silent.push(stream);
    }
    for round in 0..3 {
        let answer = socket::call(&path, &Call::Anybody).await.unwrap();
        assert_eq!(answer["schema"], "keywright/status/1", "{round}");
    }
    let mut rest = String::new();
    assert_eq!(silent[0].read_to_string(&mut rest).await.unwrap(), 0, "the oldest was closed");
    let last = silent.last_mut().unwrap();
    last.write_all(b"{\"from\":\"anybody\"}\n").await.unwrap();
    let mut first = [0; 1];
    assert_eq!(last.read(&mut first).await.unwrap(), 1, "the youngest is answered");
    serving.abort();
}

/// A stop that comes before the doors listen for one must not be missed: nobody says it twice.
#[tokio::test]
async fn doors_and_schedule_that_were_told_to_stop_before_they_began_end() {
    let world = World::new().await;
    let listener = socket::listen(&world.home.join("broker.sock")).unwrap();
    let (stop, stopped) = watch::channel(true);
    let doors = socket::serve(listener, Arc::clone(&world.broker), stop);
    let schedule = Arc::clone(&world.broker).run_schedule(stopped);
    let both = async { tokio::join!(doors, schedule) };
    tokio::time::timeout(Duration::from_secs(120), both).await.expect("they end");
}
