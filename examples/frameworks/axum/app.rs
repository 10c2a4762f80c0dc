//! Notes, in axum's own terms. Nothing here knows which server it runs on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Form, Json, Multipart, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, body::Bytes};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tower_http::compression::CompressionLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

#[derive(Clone, Default)]
pub struct Notes {
    texts: Arc<Mutex<Vec<String>>>,
    /// How often each status was answered with.
    answers: Arc<Mutex<std::collections::BTreeMap<u16, usize>>>,
}

#[derive(Serialize)]
struct Note {
    number: usize,
    text: String,
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

#[derive(Deserialize)]
struct Search {
    word: String,
    #[serde(default)]
    from: usize,
}

pub fn router(notes: Notes) -> Router {
    let counts = notes.answers.clone();
    let trace =
        TraceLayer::new_for_http().on_response(move |response: &Response<_>, _: Duration, _: &tracing::Span| {
            *counts.lock().expect("nobody panics with it").entry(response.status().as_u16()).or_default() += 1;
        });
    Router::new()
        .route("/", get(async || "Notes, by axum.\n"))
        .route("/notes", post(add).put(add_form).delete(clear))
        .route("/notes/{number}", get(show))
        .route("/search", get(search))
        .route("/upload", post(upload))
        .route("/digest", post(digest))
        .route("/echo", post(async |body: Body| body))
        .route("/count/{to}", get(count))
        .route("/events", get(events))
        .route("/slow", get(std::future::pending::<()>))
        .route("/large", get(async || "All work and no play. ".repeat(50_000)))
        .route("/peer", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()))
        .route("/answers", get(answers))
        .fallback(async || (StatusCode::NOT_FOUND, Html("<h1>There is nothing of that name here.</h1>\n")))
        .layer(CompressionLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(1)))
        .layer(trace)
        .with_state(notes)
}

async fn add(State(notes): State<Notes>, Json(NewNote { text }): Json<NewNote>) -> impl IntoResponse {
    let mut texts = notes.texts.lock().expect("nobody panics with it");
    texts.push(text.clone());
    let number = texts.len();
    (StatusCode::CREATED, [(header::LOCATION, format!("/notes/{number}"))], Json(Note { number, text }))
}

async fn add_form(notes: State<Notes>, Form(note): Form<NewNote>) -> impl IntoResponse {
    add(notes, Json(note)).await
}

async fn clear(State(notes): State<Notes>) -> StatusCode {
    notes.texts.lock().expect("nobody panics with it").clear();
    StatusCode::NO_CONTENT
}

async fn show(State(notes): State<Notes>, Path(number): Path<usize>) -> Result<Json<Note>, StatusCode> {
    let texts = notes.texts.lock().expect("nobody panics with it");
    let text = number.checked_sub(1).and_then(|index| texts.get(index)).ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(Note { number, text: text.clone() }))
}

async fn search(State(notes): State<Notes>, Query(Search { word, from }): Query<Search>) -> Json<Vec<Note>> {
    let texts = notes.texts.lock().expect("nobody panics with it");
    let found = texts.iter().enumerate().skip(from).filter(|(_, text)| text.contains(&word));
    Json(found.map(|(index, text)| Note { number: index + 1, text: text.clone() }).collect())
}

async fn answers(State(notes): State<Notes>) -> impl IntoResponse {
    Json(notes.answers.lock().expect("nobody panics with it").clone())
}

async fn upload(mut form: Multipart) -> Result<String, Response> {
    let mut lines = String::new();
    while let Some(mut field) = form.next_field().await.map_err(IntoResponse::into_response)? {
        let name = field.name().unwrap_or("nameless").to_string();
        let file = field.file_name().unwrap_or("no file").to_string();
        let mut size = 0;
        while let Some(piece) = field.chunk().await.map_err(IntoResponse::into_response)? {
            size += piece.len();
        }
        lines += &format!("{name}: {file}, {size} bytes\n");
    }
    Ok(lines)
}

/// Reads a body of any size, and keeps none of it.
async fn digest(body: Body) -> Result<String, StatusCode> {
    let (mut size, mut sum) = (0_u64, 0_u64);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece: Bytes = piece.map_err(|_| StatusCode::BAD_REQUEST)?;
        size += piece.len() as u64;
        sum = piece.iter().fold(sum, |sum, byte| sum * 31 % 65_521 + u64::from(*byte));
    }
    Ok(format!("{size} bytes, {sum}\n"))
}

async fn count(Path(to): Path<u32>) -> Body {
    Body::from_stream(stream::iter(1..=to).map(|number| Ok::<_, Infallible>(format!("{number}\n"))))
}

async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::iter(1..=3).then(async |number| {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(Event::default().event("tick").id(number.to_string()).data(format!("tick {number}\nand tock")))
    }))
}
