//! What execve(2) is given, made before the fork: after it nothing may be allocated.
//!
//! The program is looked for as execvp(3) does: in the `PATH` that the child will have, by the rights and from the
//! directory that it will have. So the places are told here, and tried by the child.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

/// Where a name is looked for without `PATH`: what confstr(3) says in the C libraries of Linux.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What runs a file that is executable, and that the kernel knows no format of (execvp(3)).
pub(super) const SHELL: &CStr = c"/bin/sh";

/// A program to be, with its arguments and its environment.
#[derive(Debug)]
pub(super) struct Image {
    /// Where the program may be, in the order in which it is tried.
    pub(super) candidates: Vec<Candidate>,
    pub(super) arguments: Strings,
    pub(super) environment: Strings,
}

/// One place of the program.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) path: CString,
    /// What [`SHELL`] gets, should the file there be a script that does not name its interpreter.
    pub(super) shell_arguments: Strings,
}

/// Strings as execve(2) takes them.
#[derive(Debug)]
pub(super) struct Strings {
    /// What `pointers` point to, which does not move with this.
    _owned: Vec<CString>,
    /// Ends with a null.
    pointers: Vec<*const c_char>,
}

impl Image {
    /// Makes the image of a path, or of a name that is looked up.
    ///
    /// # Errors
    /// Where something of it holds a NUL.
    pub(super) fn of(
        program: &OsStr,
        arguments: &[OsString],
        environment: BTreeMap<OsString, OsString>,
    ) -> io::Result<Self> {
        let of_program = |first: &[&OsStr]| {
            let all = first.iter().copied().chain(arguments.iter().map(OsString::as_os_str));
            Strings::of(all.map(OsStr::to_owned))
        };
        let places = places(program, environment.get(OsStr::new("PATH")));
        let candidate = |place: OsString| {
            Ok(Candidate {
                shell_arguments: of_program(&[OsStr::from_bytes(SHELL.to_bytes()), &place])?,
                path: CString::new(place.into_vec())?,
            })
        };
        let variables = environment.into_iter().map(|(mut variable, value)| {
            variable.push("=");
            variable.push(value);
            variable
        });
        Ok(Self {
            candidates: places.into_iter().map(candidate).collect::<io::Result<_>>()?,
            arguments: of_program(&[program])?,
            environment: Strings::of(variables)?,
        })
    }
}

impl Strings {
    fn of(strings: impl Iterator<Item = OsString>) -> io::Result<Self> {
        let owned: Vec<CString> = strings
            .map(|string| CString::new(string.into_vec()))
            .collect::<Result<_, _>>()?;
        let pointers = owned.iter().map(|string| string.as_ptr()).chain([ptr::null()]);
        Ok(Self {
            pointers: pointers.collect(),
            _owned: owned,
        })
    }

    /// Valid for as long as this lives.
    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// A path is where it is. A name is in one of the directories of `path`, of which an empty one is where the child begins.
fn places(program: &OsStr, path: Option<&OsString>) -> Vec<OsString> {
    let name = program.as_bytes();
    if name.is_empty() || name.contains(&b'/') {
        return vec![program.to_owned()];
    }
    let directories = path.map_or(DEFAULT_PATH.as_bytes(), |path| path.as_bytes());
    let place = |directory: &[u8]| match directory {
        b"" => program.to_owned(),
        directory => OsString::from_vec([directory, b"/", name].concat()),
    };
    directories.split(|byte| *byte == b':').map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_execvp() {
        let places = |program: &str, path: Option<&str>| {
            let found = places(OsStr::new(program), path.map(OsString::from).as_ref());
            let texts = found.iter().map(|place| place.to_str().expect("text").to_owned());
            texts.collect::<Vec<_>>()
        };
        assert_eq!(places("/bin/sh", Some("/usr/bin")), ["/bin/sh"]);
        assert_eq!(places("./sh", Some("/usr/bin")), ["./sh"]);
        assert_eq!(places("sh", Some("/a:b")), ["/a/sh", "b/sh"]);
        assert_eq!(places("sh", Some(":/a:")), ["sh", "/a/sh", "sh"]);
        assert_eq!(places("sh", Some("")), ["sh"]);
        assert_eq!(places("sh", None), ["/bin/sh", "/usr/bin/sh"]);
        assert_eq!(places("", Some("/a")), [""]);
    }

    #[test]
    fn a_script_follows_its_shell() {
        let image = Image::of(OsStr::new("/x"), &["-a".into(), "b".into()], BTreeMap::new()).expect("no NUL");
        let texts = |strings: &Strings| strings._owned.clone();
        assert_eq!(texts(&image.arguments), [c"/x", c"-a", c"b"].map(CStr::to_owned));
        let [candidate] = image.candidates.as_slice() else {
            panic!("one place: {image:?}");
        };
        assert_eq!(
            texts(&candidate.shell_arguments),
            [SHELL, c"/x", c"-a", c"b"].map(CStr::to_owned)
        );
    }

    #[test]
    fn a_nul_is_refused() {
        let refused = |program: &str, argument: &str, value: &str| {
            let environment = BTreeMap::from([("NAME".into(), value.into())]);
            Image::of(OsStr::new(program), &[argument.into()], environment).is_err()
        };
        assert!(!refused("a", "b", "c"));
        assert!(refused("a\0", "b", "c") && refused("a", "b\0", "c") && refused("a", "b", "c\0"));
    }
}
