//! Notes, in poem's own terms. Nothing here knows which server it runs on.

use std::sync::{Arc, Mutex};

use futures_util::{TryStreamExt, stream};
use poem::http::StatusCode;
use poem::web::{Data, Html, Json, Multipart, Path, RemoteAddr};
use poem::{Body, Endpoint, EndpointExt, Error, IntoResponse, Response, Result, Route, get, handler, post};
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

pub fn routes(notes: Notes) -> impl Endpoint {
    Route::new()
        .at("/", get(front))
        .at("/notes", post(add))
        .at("/notes/:number", get(show))
        .at("/upload", post(upload))
        .at("/digest", post(digest))
        .at("/echo", post(echo))
        .at("/count/:to", get(count))
        .at("/peer", get(peer))
        .data(notes)
        .catch_all_error(error_page)
}

#[handler]
fn front() -> &'static str {
    "Notes, by poem.\n"
}

#[handler]
fn add(Data(Notes(texts)): Data<&Notes>, Json(NewNote { text }): Json<NewNote>) -> Response {
    let mut texts = texts.lock().expect("nobody panics with it");
    texts.push(text.clone());
    let number = texts.len();
    let note = Json(Note { number, text }).with_status(StatusCode::CREATED);
    note.with_header("Location", format!("/notes/{number}")).into_response()
}

#[handler]
fn show(Data(Notes(texts)): Data<&Notes>, Path(number): Path<usize>) -> Result<Json<Note>> {
    let texts = texts.lock().expect("nobody panics with it");
    let text = number.checked_sub(1).and_then(|index| texts.get(index));
    let text = text.ok_or_else(|| Error::from_status(StatusCode::NOT_FOUND))?.clone();
    Ok(Json(Note { number, text }))
}

#[handler]
async fn upload(mut form: Multipart) -> Result<String> {
    let mut lines = String::new();
    while let Some(field) = form.next_field().await? {
        let name = field.name().unwrap_or("nameless").to_string();
        let file = field.file_name().unwrap_or("no file").to_string();
        lines += &format!("{name}: {file}, {} bytes\n", field.bytes().await?.len());
    }
    Ok(lines)
}

/// Reads a body of any size, and keeps none of it.
#[handler]
async fn digest(body: Body) -> Result<String> {
    let digest_piece = |(size, sum): (usize, u64), piece: bytes::Bytes| {
        let sum = piece.iter().fold(sum, |sum, byte| sum * 31 % 65_521 + u64::from(*byte));
        std::future::ready(Ok((size + piece.len(), sum)))
    };
    let digested = body.into_bytes_stream().try_fold((0, 0), digest_piece).await;
    let (size, sum) = digested.map_err(|error| Error::new(error, StatusCode::BAD_REQUEST))?;
    Ok(format!("{size} bytes, {sum}\n"))
}

#[handler]
fn echo(body: Body) -> Body {
    body
}

#[handler]
fn count(Path(to): Path<u32>) -> Body {
    Body::from_bytes_stream(stream::iter((1..=to).map(|number| Ok::<_, std::io::Error>(format!("{number}\n")))))
}

#[handler]
fn peer(RemoteAddr(peer): &RemoteAddr) -> String {
    peer.as_socket_addr().map(|peer| peer.ip().to_string()).unwrap_or_default()
}

async fn error_page(error: Error) -> impl IntoResponse {
    let sentence = error.status().canonical_reason().unwrap_or("Something is wrong");
    Html(format!("<h1>{sentence}</h1>\n")).with_status(error.status())
}
