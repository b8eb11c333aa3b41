//! nginx's Lua modules: the host's, or those that `cargo xtask test` unpacked.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Names the folder that the modules and what they load are below.
pub const VARIABLE: &str = "OBSERVER_TEST_NGINX_LUA";

/// The second needs the first.
const MODULES: [&str; 2] = ["ndk_http_module.so", "ngx_http_lua_module.so"];
const MODULE_FOLDER: &str = "usr/lib/nginx/modules";

/// The folder that the modules and what they load are below.
#[derive(Debug, Clone)]
pub struct Lua {
    root: PathBuf,
}

impl Lua {
    /// Finds them. Error where there are none.
    pub fn find() -> Result<Self> {
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/nginx-lua");
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        let roots = named.into_iter().chain([PathBuf::from("/"), PathBuf::from(own)]);
        for root in roots {
            if MODULES.iter().all(|module| root.join(MODULE_FOLDER).join(module).is_file()) {
                return Ok(Self { root });
            }
        }
        bail!("no Lua modules for nginx: `cargo xtask test` unpacks them, and ${VARIABLE} names where")
    }

    pub(super) fn load_modules(&self) -> String {
        let folder = self.root.join(MODULE_FOLDER);
        MODULES.map(|module| format!("load_module {};\n", folder.join(module).display())).concat()
    }

    pub(super) fn package_path(&self) -> String {
        format!("lua_package_path \"{}/?.lua;;\";", self.root.join("usr/share/lua/5.1").display())
    }

    /// Their LuaJIT may be another one than the host's.
    pub(super) fn library_path(&self) -> Option<OsString> {
        let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
        let folders = ["usr/lib", "lib"].map(|folder| self.root.join(folder).join(&multiarch));
        (self.root != Path::new("/")).then(|| std::env::join_paths(folders).unwrap_or_default())
    }
}
