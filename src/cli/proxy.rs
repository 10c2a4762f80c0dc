//! The flags of a server behind a proxy.

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::config::Config;
use crate::http::proxies::{Proxies, Proxy};

/// Whose word about others is taken.
#[derive(Debug, Args)]
#[command(next_help_heading = "Behind a proxy")]
pub(super) struct ProxyFlags {
    /// Believe Forwarded and X-Forwarded-For, -Proto and -Host of peers at this address or in this network, or with
    /// unix of every peer on a unix socket (repeatable; separated by commas in the variable)
    #[arg(long, value_name = "CIDR|IP|unix", env = "RINGWAY_TRUSTED_PROXY", value_delimiter = ',')]
    trusted_proxy: Vec<Proxy>,
    /// Each connection of a trusted proxy begins with a header of the PROXY protocol, version 1 or 2
    #[arg(long, env = "RINGWAY_PROXY_PROTOCOL", value_parser = BoolishValueParser::new())]
    proxy_protocol: bool,
}

impl ProxyFlags {
    /// # Errors
    /// A line about a flag that means nothing without another.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), String> {
        if self.proxy_protocol && self.trusted_proxy.is_empty() {
            return Err("--proxy-protocol needs --trusted-proxy: it is spoken by trusted proxies only".into());
        }
        let mut proxies = Proxies::default();
        proxies.speak_proxy_protocol = self.proxy_protocol;
        self.trusted_proxy.iter().for_each(|proxy| proxies.trust(*proxy));
        config.limits.proxies = proxies;
        Ok(())
    }
}
