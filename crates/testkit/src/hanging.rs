//! A disk that hangs.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A directory over which a file system (FUSE) is mounted that nobody serves: whatever touches it waits, as with a server of NFS
/// that is gone.
pub struct Hanging {
    holder: Child,
}

/// Holds the file system until its input ends. Then it goes away, and whoever waited is told that it did.
const HOLD: &str = r#"exec 3<>/dev/fuse || exit 1
mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 keywright "$1" || exit 1
echo up
read -r _
exec 3>&-
umount -l "$1"
echo down"#;

impl Hanging {
    /// Over a directory that is there, where this process may mount; where it may not, a test says that it is skipped.
    #[must_use]
    #[expect(clippy::print_stderr, reason = "a skip is visible")]
    pub fn over(dir: &Path) -> Option<Self> {
        let mut holder = Command::new("sh")
            .args(["-c", HOLD, "sh"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if Self::said(&mut holder, "up") {
            return Some(Self { holder });
        }
        eprintln!("SKIPPED: this user can't mount a FUSE file system");
        let _ = holder.wait();
        None
    }

    /// The file system is gone, and what lay below it is there again.
    pub fn end(mut self) {
        drop(self.holder.stdin.take());
        assert!(Self::said(&mut self.holder, "down"));
    }

    fn said(holder: &mut Child, what: &str) -> bool {
        let mut line = String::new();
        let mut said = BufReader::new(holder.stdout.as_mut().unwrap());
        said.read_line(&mut line).unwrap();
        line.trim() == what
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
