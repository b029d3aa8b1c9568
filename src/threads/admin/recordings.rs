//! Recordings and live listening: the file of a call, its waveform, its pause, and what is said in it now.
//!
//! Runs in: the admin thread; files are read on threads that may wait for a disk. Owns nothing.
//! Invariant: a path of the file system is made of a record's id alone, never of what a request says.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response as HttpResponse};
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use tokio::sync::oneshot;
use tower_http::services::ServeFile;

use super::Admin;
use super::access::Asker;
use super::response::Response;
use super::routes::Routes;
use crate::base::RecordId;
use crate::threads::messages::ControlInput;
use crate::threads::private_file;
use crate::threads::recorder::ListenRefused;
use crate::threads::recorder::shelf::{recording_of, waveform_of};

/// What [`listen`] answers with.
const PCM: &str = "audio/pcm;rate=16000;channels=2";

/// The paths of this file.
pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/api/calls/{id}/recording", recording)
        .get("/api/calls/{id}/waveform", waveform)
        .get("/api/calls/{id}/listen", listen)
}

/// The file, or the part of it that is asked for (`Range`). That of a running call is what was written so far.
async fn recording(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    request: Request,
) -> HttpResponse {
    let directory = admin.shared.parts.recordings.clone();
    let found = tokio::task::spawn_blocking(move || recording_of(&directory, RecordId::parse(&id)?)).await;
    let Ok(Some((path, format))) = found else { return no_recording().into_response() };
    let Ok(media_type) = format.media_type().parse() else { return no_recording().into_response() };
    match ServeFile::new_with_mime(path, &media_type).try_call(request).await {
        Ok(answer) => answer.map(Body::new).into_response(),
        Err(_) => unreadable().into_response(),
    }
}

/// The waveform beside a recording that has ended.
async fn waveform(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> HttpResponse {
    let directory = admin.shared.parts.recordings.clone();
    let read = move || RecordId::parse(&id).map(|id| private_file::read(&waveform_of(&directory, id)));
    match tokio::task::spawn_blocking(read).await {
        Ok(Some(Ok(json))) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(Some(Err(problem))) if problem.kind() != ErrorKind::NotFound => unreadable().into_response(),
        _ => no_recording().into_response(),
    }
}

/// What is said in a running call, about half a second later, until it ends or nobody reads any more.
async fn listen(Asker { admin, peer }: Asker, Path(id): Path<String>) -> HttpResponse {
    let Some(place) = admin.listening.take(peer) else { return too_many_listen() };
    let (reply, answer) = oneshot::channel();
    if !admin.ask_control(ControlInput::Listen(id, reply)) {
        return Response::error(503, "the relay is busy: try again").into_response();
    }
    match answer.await {
        Ok(Ok(heard)) => {
            let pieces = stream::unfold((heard, place), |(mut heard, place)| async move {
                Some((Ok::<Bytes, Infallible>(heard.recv().await?), (heard, place)))
            });
            ([(CONTENT_TYPE, PCM), (CACHE_CONTROL, "no-store")], Body::from_stream(pieces)).into_response()
        }
        Ok(Err(ListenRefused::NoCall)) => {
            Response::error(404, "no call with this id is running").into_response()
        }
        Ok(Err(ListenRefused::TooMany)) => too_many_listen(),
        Err(_) => Response::error(503, "the relay did not answer: try again").into_response(),
    }
}

fn too_many_listen() -> HttpResponse {
    let why =
        "too many listen already, 8 to this call, 32 in all or 16 of this address: wait until one has gone";
    Response::error(503, why).into_response()
}

fn no_recording() -> Response {
    Response::error(
        404,
        "there is no recording of a call with this id: its agent does not record, or it was removed (recording.retention_days, \
         recording.max_gib)",
    )
}

fn unreadable() -> Response {
    Response::error(503, "the recording is there and cannot be read: see the rights of recording.directory")
}
