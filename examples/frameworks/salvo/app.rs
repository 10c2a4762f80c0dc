//! Notes, in salvo's own terms. Nothing here knows which server it runs on.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use salvo::catcher::Catcher;
use salvo::http::StatusError;
use salvo::prelude::*;
use salvo::writing::Text;
use serde::{Deserialize, Serialize};

#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<String>>>);

#[derive(Serialize)]
struct Note {
    number: usize,
    text: String,
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

struct Add(Notes);
struct Show(Notes);

pub fn service(notes: Notes) -> Service {
    let router = Router::new()
        .get(front)
        .push(Router::with_path("notes").post(Add(notes.clone())))
        .push(Router::with_path("notes/{number}").get(Show(notes)))
        .push(Router::with_path("upload").post(upload))
        .push(Router::with_path("digest").post(digest))
        .push(Router::with_path("echo").post(echo))
        .push(Router::with_path("count/{to}").get(count))
        .push(Router::with_path("peer").get(peer));
    Service::new(router).catcher(Catcher::default().hoop(error_page))
}

#[handler]
async fn front() -> &'static str {
    "Notes, by salvo.\n"
}

#[handler]
impl Add {
    async fn handle(&self, request: &mut Request, response: &mut Response) -> Result<(), StatusError> {
        let NewNote { text } = request.parse_json().await.map_err(|_| StatusError::bad_request())?;
        let mut texts = self.0.0.lock().expect("nobody panics with it");
        texts.push(text.clone());
        let number = texts.len();
        response.status_code(StatusCode::CREATED).render(Json(Note { number, text }));
        response.add_header("Location", format!("/notes/{number}"), true).map_err(|_| StatusError::bad_request())?;
        Ok(())
    }
}

#[handler]
impl Show {
    async fn handle(&self, request: &mut Request) -> Result<Json<Note>, StatusError> {
        let number: usize = request.param("number").ok_or_else(StatusError::bad_request)?;
        let texts = self.0.0.lock().expect("nobody panics with it");
        let text = number.checked_sub(1).and_then(|index| texts.get(index)).ok_or_else(StatusError::not_found)?;
        Ok(Json(Note { number, text: text.clone() }))
    }
}

#[handler]
async fn upload(request: &mut Request) -> Result<String, StatusError> {
    let form = request.form_data().await.map_err(|_| StatusError::bad_request())?;
    let fields = form.fields.flat_iter().map(|(name, text)| format!("{name}: no file, {} bytes\n", text.len()));
    let files = form
        .files
        .flat_iter()
        .map(|(name, file)| format!("{name}: {}, {} bytes\n", file.name().unwrap_or_default(), file.size()));
    let mut lines: Vec<_> = fields.chain(files).collect();
    // They are in a map.
    lines.sort_unstable();
    Ok(lines.concat())
}

/// Reads a body of any size, and keeps none of it.
#[handler]
async fn digest(request: &mut Request) -> Result<String, StatusError> {
    let (mut size, mut sum) = (0, 0);
    let mut pieces = request.take_body().into_data_stream();
    while let Some(piece) = pieces.try_next().await.map_err(|_| StatusError::bad_request())? {
        size += piece.len();
        sum = piece.iter().fold(sum, |sum, byte| sum * 31 % 65_521 + u64::from(*byte));
    }
    Ok(format!("{size} bytes, {sum}\n"))
}

#[handler]
async fn echo(request: &mut Request, response: &mut Response) {
    response.stream(request.take_body().into_data_stream());
}

#[handler]
async fn count(request: &mut Request, response: &mut Response) {
    let to: u32 = request.param("to").unwrap_or_default();
    response.stream(stream::iter(1..=to).map(|number| Ok::<_, Infallible>(format!("{number}\n"))));
}

#[handler]
async fn peer(request: &mut Request) -> String {
    request.remote_addr().ip().map(|ip| ip.to_string()).unwrap_or_default()
}

#[handler]
async fn error_page(response: &mut Response, control: &mut FlowCtrl) {
    let sentence = response.status_code.and_then(|status| status.canonical_reason()).unwrap_or("Something is wrong");
    response.render(Text::Html(format!("<h1>{sentence}</h1>\n")));
    control.skip_rest();
}
