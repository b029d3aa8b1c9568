//! The operator's page: files of `web/`, which the binary carries.
//!
//! Runs in: the admin threads. Owns nothing. Never reads a file, and never makes markup: what calls bring reaches the page
//! as JSON.
//! Invariant: the page runs no script, style or font but these files, and is shown in no other page's frame.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::extract::Path;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::response::Response;
use super::routes::Routes;

/// What the browser may load and where it may connect to: less than what other answers allow. The telephone's WebSocket goes to the media port, whose number
/// is another one at the far end of a tunnel.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    media-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// A file of the page.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($name:literal, $content_type:ident) => {
        Asset {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("../../../web/", $name)),
        }
    };
}

const INDEX: Asset = asset!("index.html", HTML);

const ASSETS: &[Asset] = &[
    asset!("api.js", SCRIPT),
    asset!("app.js", SCRIPT),
    asset!("audio.js", SCRIPT),
    asset!("call.js", SCRIPT),
    asset!("calls.js", SCRIPT),
    asset!("capture.worklet.js", SCRIPT),
    asset!("compare.js", SCRIPT),
    asset!("cushion.js", SCRIPT),
    asset!("dock.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("format.js", SCRIPT),
    asset!("icon.svg", PICTURE),
    asset!("listen.js", SCRIPT),
    asset!("live.js", SCRIPT),
    asset!("phone.js", SCRIPT),
    asset!("player.js", SCRIPT),
    asset!("player.worklet.js", SCRIPT),
    asset!("plot.js", SCRIPT),
    asset!("resample.js", SCRIPT),
    asset!("style.css", STYLE),
    asset!("telephone.js", SCRIPT),
    asset!("timeline.js", SCRIPT),
    asset!("verdict.js", SCRIPT),
    asset!("why.js", SCRIPT),
];

/// `GET /` and `GET /assets/{name}`: they need no token, because the page asks for it.
pub(super) fn routes() -> Routes {
    Routes::new().get("/", index).get("/assets/{name}", asset)
}

async fn index(headers: HeaderMap) -> axum::response::Response {
    answer(&INDEX, &headers)
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> axum::response::Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => answer(asset, &headers),
        None => Response::error(404, "the page has no such file").into_response(),
    }
}

/// A browser may keep a file, and asks each time whether it is still the same: an upgrade is seen at once.
fn answer(asset: &Asset, headers: &HeaderMap) -> axum::response::Response {
    let tag = entity_tag(asset.text);
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response =
        if is_known { StatusCode::NOT_MODIFIED.into_response() } else { asset.text.into_response() };
    let fields = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    ];
    for (name, value) in fixed {
        fields.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        fields.insert(header::ETAG, tag);
    }
    response
}

fn entity_tag(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_page_is_carried() {
        let carried: BTreeSet<_> = ASSETS.iter().chain([&INDEX]).map(|asset| asset.name.to_owned()).collect();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let there: BTreeSet<_> = std::fs::read_dir(folder)
            .expect("web/")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        assert_eq!(carried, there);
    }

    #[test]
    fn a_browser_that_has_the_file_gets_it_again_only_when_it_has_changed() {
        let fresh = answer(&INDEX, &HeaderMap::new());
        assert_eq!(fresh.status(), StatusCode::OK);
        assert_eq!(fresh.headers()[header::CACHE_CONTROL], "no-cache");
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, fresh.headers()[header::ETAG].clone());
        assert_eq!(answer(&INDEX, &headers).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer(&ASSETS[0], &headers).status(), StatusCode::OK, "another file");
    }

    #[test]
    fn the_page_names_no_other_host_and_has_no_script_or_style_of_its_own() {
        for asset in ASSETS.iter().chain([&INDEX]) {
            for (place, _) in asset.text.match_indices("://") {
                let start =
                    asset.text[..place].rfind(|c: char| !c.is_ascii_alphabetic()).map_or(0, |at| at + 1);
                let rest = &asset.text[start..];
                assert!(
                    rest.starts_with("http://localhost:9095")
                        || rest.starts_with("http://www.w3.org/2000/svg"),
                    "{}: {rest:.60}",
                    asset.name
                );
            }
            for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!asset.text.contains(markup), "{} uses {markup}", asset.name);
            }
        }
        assert_eq!(INDEX.text.matches("<script").count(), 1);
        assert!(INDEX.text.contains("src=\"/assets/app.js\"></script>"));
        assert!(!INDEX.text.contains("<style") && !INDEX.text.contains(" style="));
    }
}
