//! nginx's Lua modules for the benchmarks and the end-to-end tests: the host's, or unpacked into the target folder.
//!
//! They are not installed: Debian's come with a LuaJIT that would take the place of the one that wrk brought.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::packages;
use crate::job;
use crate::signals::{self, Stop};
use crate::step;

/// The modules, and the folder that they and what they load are below.
pub struct NginxLua {
    root: PathBuf,
}

/// nginx's own packages and its usual libraries are there already.
const PACKAGES: &[&str] = &[
    "libnginx-mod-http-lua",
    "libnginx-mod-http-ndk",
    "libluajit2-5.1-2",
    "libpcre3",
    "lua-resty-core",
    "lua-resty-lrucache",
];

/// The second needs the first.
const MODULES: [&str; 2] = ["ndk_http_module.so", "ngx_http_lua_module.so"];

const MODULE_FOLDER: &str = "usr/lib/nginx/modules";

impl NginxLua {
    /// Finds them, or fetches them. `tools` is the project's folder of tools.
    pub fn prepare(tools: &Path) -> Result<Self> {
        let own = tools.join("nginx-lua");
        for root in [Path::new("/"), &own] {
            if MODULES.iter().all(|module| root.join(MODULE_FOLDER).join(module).is_file()) {
                return Ok(Self { root: root.to_path_buf() });
            }
        }
        step(&format!("nginx's Lua modules: unpacking them into {}", own.display()));
        unpack(tools, &own)?;
        Ok(Self { root: own })
    }

    /// Some, for tests of what uses them.
    #[cfg(test)]
    pub fn example() -> Self {
        Self { root: "/target/tools/nginx-lua".into() }
    }

    /// The folder that all of it is below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What nginx.conf begins with.
    pub fn load_modules(&self) -> String {
        let folder = self.root.join(MODULE_FOLDER);
        MODULES.map(|module| format!("load_module {};\n", folder.join(module).display())).concat()
    }

    /// What its `http` block needs for `resty.core`.
    pub fn package_path(&self) -> String {
        format!("lua_package_path \"{}/?.lua;;\";", self.root.join("usr/share/lua/5.1").display())
    }

    /// `LD_LIBRARY_PATH` for nginx; `None` where the modules are the host's.
    pub fn library_path(&self) -> Option<OsString> {
        let folders = ["usr/lib", "lib"].map(|folder| self.root.join(folder).join(multiarch()));
        (self.root != Path::new("/")).then(|| std::env::join_paths(folders).unwrap_or_default())
    }
}

/// Debian's name for what a library is built for.
fn multiarch() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}

fn unpack(tools: &Path, own: &Path) -> Result<()> {
    fs::create_dir_all(tools).with_context(|| format!("cannot make {}", tools.display()))?;
    let folder = TempDir::with_prefix_in("nginx-lua-", tools).context("cannot make a folder in the target folder")?;
    if download(folder.path()).is_err() {
        signals::check()?;
        packages::update()?;
        download(folder.path())?;
    }
    let root = folder.path().join("root");
    for file in fs::read_dir(folder.path())? {
        let file = file?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            let mut dpkg = Command::new("dpkg-deb");
            dpkg.arg("--extract").arg(file).arg(&root).stdin(Stdio::null());
            job::quiet(&mut dpkg, Stop::Group, "dpkg-deb")?;
        }
    }
    if own.exists() {
        fs::remove_dir_all(own).with_context(|| format!("cannot remove {}", own.display()))?;
    }
    // Only a whole one gets the name.
    fs::rename(&root, own).with_context(|| format!("cannot make {}", own.display()))?;
    if !own.join(MODULE_FOLDER).join(MODULES[1]).is_file() {
        bail!("Debian's packages have no {}; install nginx with Lua and run it again", MODULES[1]);
    }
    Ok(())
}

fn download(folder: &Path) -> Result<()> {
    let mut apt_get = Command::new("apt-get");
    apt_get.current_dir(folder).arg("download").args(PACKAGES).stdin(Stdio::null());
    let what = format!("`apt-get download {}`", PACKAGES.join(" "));
    job::quiet(&mut apt_get, Stop::Group, &what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_modules_bring_their_libraries() {
        let lua = NginxLua::example();
        let libraries = lua.library_path().unwrap().into_string().unwrap();
        assert!(libraries.starts_with("/target/tools/nginx-lua/usr/lib/"), "{libraries}");
        assert!(lua.load_modules().starts_with(
            "load_module /target/tools/nginx-lua/usr/lib/nginx/modules/ndk_http_module.so;\nload_module "
        ));
    }

    #[test]
    fn the_hosts_modules_find_theirs_alone() {
        assert_eq!(NginxLua { root: "/".into() }.library_path(), None);
    }
}
