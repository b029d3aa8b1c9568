//! Files that the relay writes, where somebody else may have put a link in their place; and reads that it has written.
//!
//! Runs in: the threads that write files; blocking. Owns nothing once a file is open.
//! Never follows a link at the end of a path, and never waits for the other end of a pipe.
//! Invariant: what is written goes into a regular file of ours, or nowhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file to write behind what is in it, and makes it with these rights where it is not there.
///
/// # Errors
/// Those of opening it; that it is a link, or no regular file.
pub(crate) fn append(path: &Path, mode: u32) -> io::Result<File> {
    // Without waiting, because a pipe has no other end.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().create(true).append(true).mode(mode).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// Writes a file anew that keeps its owner and rights, or makes it.
///
/// # Errors
/// Those of opening and writing it; that it is a link, or no regular file.
pub(crate) fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file =
        OpenOptions::new().create(true).truncate(false).write(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    file.set_len(0)?;
    file.write_all(bytes)
}

/// Reads a file.
///
/// # Errors
/// Those of opening and reading it; that it is a link, or no regular file.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    io::read_to_string(file)
}

/// Makes a file that is not there yet.
///
/// # Errors
/// Those of making it; that something is there, be it a link to nothing.
pub(crate) fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// Puts a file with these bytes in the place of whatever is there: complete, or not at all. What a link leads to stays as it
/// is.
///
/// # Errors
/// Those of writing, and of putting it there.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => return Err(problem),
        // It was left by one who did not come to the end.
        _ => {}
    }
    let written = create(&new, mode).and_then(|mut file| file.write_all(bytes));
    let placed = written.and_then(|()| fs::rename(&new, path));
    if placed.is_err() {
        // What was going wrong is more to say than this.
        _ = fs::remove_file(&new);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tandem-files-{}-{name}", std::process::id()));
            _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).expect("a directory");
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let directory = Directory::new("link");
        let (victim, link) = (directory.0.join("victim"), directory.0.join("link"));
        fs::write(&victim, "precious").expect("a file");
        symlink(&victim, &link).expect("a link");
        assert!(append(&link, 0o600).is_err());
        assert!(create(&link, 0o600).is_err());
        assert!(overwrite(&link, b"ours").is_err());
        assert!(read(&link).is_err());
        replace(&link, b"ours", 0o640).expect("the link is replaced");
        assert_eq!(fs::read(&victim).expect("untouched"), b"precious");
        assert_eq!(fs::read(&link).expect("ours"), b"ours");
        let found = fs::symlink_metadata(&link).expect("there");
        assert!(found.is_file());
        assert_eq!(found.permissions().mode() & 0o137, 0, "not more than asked for");
        symlink(directory.0.join("nowhere"), directory.0.join("dangling")).expect("a link");
        assert!(append(&directory.0.join("dangling"), 0o600).is_err());
        assert!(!directory.0.join("nowhere").exists());
    }

    #[test]
    fn a_link_where_the_new_file_is_made_is_not_followed_either() {
        let directory = Directory::new("new");
        let victim = directory.0.join("victim");
        fs::write(&victim, "precious").expect("a file");
        symlink(&victim, directory.0.join("a.json.new")).expect("a link");
        replace(&directory.0.join("a.json"), b"ours", 0o640).expect("written");
        assert_eq!(fs::read(&victim).expect("untouched"), b"precious");
        assert_eq!(fs::read(directory.0.join("a.json")).expect("ours"), b"ours");
        assert!(!directory.0.join("a.json.new").exists());
    }

    #[test]
    fn a_file_is_appended_to_or_replaced_and_nothing_else_is_taken_for_one() {
        let directory = Directory::new("plain");
        let path = directory.0.join("a");
        for piece in ["1", "2"] {
            append(&path, 0o600).and_then(|mut file| file.write_all(piece.as_bytes())).expect("written");
        }
        assert_eq!(fs::read(&path).expect("there"), b"12");
        replace(&path, b"3", 0o600).expect("replaced");
        assert_eq!(read(&path).expect("there"), "3");
        overwrite(&path, b"").expect("overwritten");
        assert_eq!(read(&path).expect("there"), "");
        assert!(append(&directory.0, 0o600).is_err(), "a directory");
        assert!(replace(&directory.0.join("none/a"), b"", 0o600).is_err());
    }
}
