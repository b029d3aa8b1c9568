//! A list of paths with what answers them: the router of `axum`, and beside it what `docs/openapi.json` has to name.
//!
//! Runs in: the admin thread, at its start. Owns nothing once the router is made.
//! Invariant: a path that is served is in the list.

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing;

use super::Admin;

/// See the head of this file. Each area of the server makes one in a function `routes()`.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Arc<Admin>>,
    listed: Vec<(&'static str, &'static str)>,
}

impl Routes {
    /// None yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Answers `GET path`.
    pub(super) fn get<T: 'static>(self, path: &'static str, handler: impl Handler<T, Arc<Admin>>) -> Self {
        self.with("get", path, routing::get(handler))
    }

    /// Answers `POST path`.
    pub(super) fn post<T: 'static>(self, path: &'static str, handler: impl Handler<T, Arc<Admin>>) -> Self {
        self.with("post", path, routing::post(handler))
    }

    /// These and `other`.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.listed.extend(other.listed);
        Self { router: self.router.merge(other.router), listed: self.listed }
    }

    /// The router, and each method and path in it.
    pub(super) fn into_parts(self) -> (Router<Arc<Admin>>, Vec<(&'static str, &'static str)>) {
        (self.router, self.listed)
    }

    fn with(
        mut self,
        method: &'static str,
        path: &'static str,
        answers: routing::MethodRouter<Arc<Admin>>,
    ) -> Self {
        self.listed.push((method, path));
        Self { router: self.router.route(path, answers), listed: self.listed }
    }
}
