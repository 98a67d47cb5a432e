// The page of webhook-inbox. Texts of strangers reach the document only through textContent and createElement.

"use strict";

const ROWS_MAX = 200; // in the document
const PAGE_ROWS = 50;
const POLL_S = 25; // proxies cut a silent connection, often after 30 s
const LOOK_MS = 5000; // between two looks where nothing can be waited for
const FLOOD_PAUSE_MS = 1000; // between two draws when more arrives than a page holds
const ANNOUNCE_MS = 5000; // between two sentences for a screen reader
const OVERVIEW_MS = 2000; // between an arrival and new figures
const OVERVIEW_IDLE_MS = 30000; // and when nothing arrives
const RAW_CHARS_MAX = 256 * 1024; // a larger body is offered as a download only
const DOWNLOAD_ROWS_MAX = 100000;

const $ = (id) => document.getElementById(id);

// ---- words and elements ----

/** An element with properties and children. */
function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function drawing(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const words = (name, className, textContent) => make(name, { className, textContent });

function button(label, action) {
  const element = make("button", { textContent: label });
  element.onclick = () => action(element);
  return element;
}

// Characters that change how others are shown, or that cannot be seen: C0 and C1 controls, and bidirectional controls.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
const NAMES = { "202a": "LRE", "202b": "RLE", "202c": "PDF", "202d": "LRO", "202e": "RLO",
  2066: "LRI", 2067: "RLI", 2068: "FSI", 2069: "PDI" };

const hex = (character) => character.charCodeAt(0).toString(16).padStart(4, "0");

/** A text of a stranger, isolated from the text around it, with marks for hidden characters. */
function stranger(given, name = "bdi") {
  const text = String(given ?? "");
  const element = make(name, { dir: "auto", lang: "" });
  let from = 0;
  for (const { 0: found, index } of text.matchAll(HIDDEN)) {
    const mark = NAMES[hex(found)] || `U+${hex(found).toUpperCase()}`;
    element.append(text.slice(from, index), words("span", "mark", `[${mark}]`));
    from = index + 1;
  }
  element.append(text.slice(from));
  return element;
}

const number = (value) => value.toLocaleString("en");
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

/** An instant in this machine's time; today the clock is enough. Swedish dates are those of ISO 8601. */
function time(ts) {
  const at = new Date(ts);
  const today = at.toDateString() === new Date().toDateString();
  const style = today ? { timeStyle: "medium" } : { dateStyle: "short", timeStyle: "short" };
  return make("time", { dateTime: ts, title: ts, textContent: isNaN(at) ? ts : at.toLocaleString("sv", style) });
}

const UNITS_S = { s: 1, m: 60, h: 3600, d: 86400 };

function ago(ts) {
  const passed = Math.max(1, (Date.now() - new Date(ts)) / 1000);
  const [unit, seconds] = Object.entries(UNITS_S).findLast(([, seconds]) => passed >= seconds);
  return `${Math.floor(passed / seconds)} ${unit} ago`;
}

/** Says for two seconds on the button that it has worked. */
async function copy(element, text) {
  const label = element.textContent;
  const done = navigator.clipboard ? navigator.clipboard.writeText(text) : Promise.reject();
  // Over http, browsers allow it on this machine only.
  element.textContent = await done.then(() => "Copied", () => "Not allowed");
  setTimeout(() => (element.textContent = label), 2000);
}

// ---- the server ----

const encoded = (given) => new URLSearchParams(Object.entries(given).filter(([, value]) => value));

/** JSON of a path, and whether the answer links to pages after and before it. Otherwise throws what it says. */
async function get(path, parameters = {}, signal) {
  const response = await fetch(`${path}?${encoded(parameters)}`, { signal });
  const { ok, status, headers } = response;
  const body = await response.json().catch(() => ({ detail: `The service answers ${status}.` }));
  if (!ok) throw Object.assign(new Error(body.detail), { status, detail: body.detail });
  const link = headers.get("Link") || "";
  return { ...body, more: link.includes('rel="next"'), earlier: link.includes('rel="prev"') };
}

/** The parameters that a search stands for. An unknown `word:` is text. */
function parameters(query) {
  const found = {};
  const text = query.split(/\s+/).filter((word) => {
    const [, name, value] = word.match(/^(from|since|type|source):(\S+)$/) || [];
    if (!name) return true;
    const [, count, unit] = (name === "since" && value.match(/^(\d{1,6})([smhd])$/)) || [];
    found[name] = unit ? new Date(Date.now() - count * UNITS_S[unit] * 1000).toISOString() : value;
    return false;
  });
  return { ...found, q: text.join(" ") };
}

// ---- the views and their rows ----

/** What the fragment says: a view, a search, and the row that is opened. No log holds a fragment. */
let route = {};

/** The fragment of the present view with such a search and row. */
function fragment(parts) {
  const view = route.view === "messages" ? "" : route.view;
  return `#${encoded({ view, ...parts })}`;
}

const searchFor = (q) => `#${encoded({ q })}`;

const COLUMNS = ["c-time", "c-from", "c-to", "open"];

/** A row: its key in the fragment, when, who, what beside it, and in the last column a link that opens it. */
function row(seq, ts, who, beside, ...content) {
  const link = make("a", { href: fragment({ q: route.q, seq }) }, ...content);
  const cells = [time(ts), stranger(who), stranger(beside), link];
  const element = make("tr", {}, ...cells.map((cell, index) => make("td", { className: COLUMNS[index] }, cell)));
  element.dataset.key = seq;
  return element;
}

function summary(message) {
  const text = stranger(message.text?.slice(0, 300).replace(/\s+/g, " "));
  return message.type === "text" && message.text ? [text] : [words("span", "quiet", `[${message.type}] `), text];
}

/** Path, columns, an item as a row and in detail, and what to say when there are none. */
const VIEWS = {
  messages: {
    path: "/arrivals",
    columns: ["Time", "From", "To", "Text"],
    row: (it) => row(it.seq, it.ts, it.profile_name || it.from, `→ ${it.to}`, ...summary(it)),
    detail: messageDetail,
    empty: "Send the first one. In a shell, with the secret of this service instead of development-secret:",
  },
  refused: {
    path: "/refusals",
    columns: ["Time", "Client", "Request", "Answer"],
    row: (it) => row(it.request_id, it.at, it.client, target(it), `${it.status} `, stranger(it.reason)),
    detail: refusalDetail,
    empty: "Since it started, the service has refused no request, or KEEP_REFUSED is 0.",
  },
  statuses: {
    path: "/statuses",
    columns: ["Time", "Recipient", "Message", "Status"],
    row: (it) => row(it.message_id, it.ts, it.recipient, it.message_id, stranger(it.status), errorCode(it)),
    detail: statusDetail,
    empty: "Meta reports here what became of the messages that you send.",
  },
};

const target = (refusal) => [refusal.method, refusal.path].join(" ");
const errorCode = (status) => (status.error_code === null ? "" : ` (error ${status.error_code})`);

// ---- details ----

/** A definition list without what is null, undefined or empty. */
function facts(...pairs) {
  const known = pairs.filter(([, value]) => (value ?? "") !== "");
  const shown = (value) => (value instanceof Node ? value : stranger(value));
  return make("dl", { className: "facts" },
    ...known.flatMap(([name, value]) => [words("dt", "", name), make("dd", {}, shown(value))]));
}

/** Text in a box that scrolls, with escapes for hidden characters, and buttons. */
function source(title, text, ...buttons) {
  const textContent = text.replace(HIDDEN, (found) => `\\u${hex(found)}`);
  const pre = make("pre", { tabIndex: 0, role: "group", textContent, ariaLabel: title });
  const copies = make("p", { className: "buttons" }, button("Copy", (it) => copy(it, text)), ...buttons);
  return make("details", {}, words("summary", "", title), copies, pre);
}

/** Lines that deliver a body again. webhook-inbox sign reads the secret where it is. */
function asCurl(scheme, body) {
  const sign = `webhook-inbox sign${scheme === "native" ? "" : ` --scheme ${scheme}`} --header < body.json`;
  // Standard Webhooks have three fields.
  const curl = scheme === "standard" ? `${sign} | curl -H @-` : `curl -H "$(${sign})"`;
  const url = `${location.origin}/webhook${scheme === "meta" ? "/meta" : ""}`;
  return `printf %s '${body.replaceAll("'", "'\\''")}' > body.json\n${curl} --data-binary @body.json ${url}`;
}

const curlButton = (scheme, body) => button("Copy as curl", (it) => copy(it, asCurl(scheme, body)));

async function messageDetail(seq) {
  const message = await get(`/arrivals/${encodeURIComponent(seq)}`);
  const late = number(Math.round((new Date(message.received_at) - new Date(message.ts)) / 100) / 10);
  const all = make("a", { href: searchFor(`from:${message.from}`), textContent: "all of this sender" });
  const text = stranger(message.text, "div");
  text.className = "text";
  const body = JSON.stringify(message, ["message_id", "from", "to", "ts", "text"]);
  return [["From ", stranger(message.profile_name || message.from)], text,
    facts(["From", make("span", {}, stranger(message.from), " · ", all)], ["Name", message.profile_name],
      ["Sender id", message.from_id], ["To", message.to], ["Channel", message.channel], ["Sent", message.ts],
      ["Received", `${message.received_at} (${late} s later)`], ["Type", message.type], ["Source", message.source],
      ["message_id", message.message_id], ["seq", message.seq], ["Answers", message.context?.message_id]),
    ...(message.raw ? await delivery(message)
      : [words("p", "quiet", "The signature was right. Of the body, these fields are kept."),
        make("p", { className: "buttons" }, curlButton(message.source, body))])];
}

/** The provider's message indented for reading, and the delivery as it came: the signature is over the latter. */
async function delivery({ raw, source: scheme, seq }) {
  const path = `/arrivals/${seq}/delivery`;
  const response = await fetch(path);
  if (!response.ok) return [];
  const bytes = Number(response.headers.get("Content-Length"));
  const parts = [facts(["Verified", `${response.headers.get("Inbox-Signature")} over ${plural(bytes, "byte")}`])];
  if (bytes <= RAW_CHARS_MAX) {
    const body = await response.text();
    parts.push(source("Message, indented", JSON.stringify(raw, null, 2)),
      source("Delivery as it came", body, curlButton(scheme, body)));
  } else {
    response.body.cancel();
    parts.push(words("p", "quiet", "The delivery is too large to be shown."));
  }
  return [...parts, make("a", { href: path, download: "", textContent: "Download the delivery" })];
}

async function refusalDetail(id) {
  const it = await get(`/refusals/${encodeURIComponent(id)}`);
  const kept = it.body_complete ? "" : `, of which the first ${plural(it.body.length, "character")} are kept`;
  return [[`Refused: ${it.status}`], make("ul", {}, ...it.diagnosis.map((line) => make("li", {}, stranger(line)))),
    facts(["Reason", it.reason], ["Time", it.at], ["Client", it.client], ["Request", target(it)],
      ["Request id", it.request_id], ["Signature", it.signature], ["Body", `${plural(it.body_bytes, "byte")}${kept}`]),
    ...(it.body ? [source("Body", it.body)] : [])];
}

async function statusDetail(message_id) {
  const { data, current } = await get("/statuses", { message_id, limit: 100 });
  return [["Message to ", stranger(data[0]?.recipient)], facts(["Now", current], ["message_id", message_id],
    ...data.map((it) => [it.status, make("span", {}, time(it.ts), errorCode(it))]))];
}

/** Shows what the fragment names, or closes what is shown. */
async function showDetail(opener) {
  document.body.classList.toggle("opened", route.seq !== "");
  markOpened();
  if (!route.seq) {
    if (!$("detail").hidden) focusRow(opener);
    $("detail").hidden = true;
    $("overview").hidden = false;
    return;
  }
  const { view, seq } = route;
  const shown = await VIEWS[view].detail(seq).catch((error) => {
    if (error.status === 401) failed(error);
    return [[error.status === 404 ? "Not here any more" : "This cannot be shown"], error.message];
  });
  if (view !== route.view || seq !== route.seq) return; // another one was opened meanwhile
  const [title, ...body] = shown;
  $("detail-title").replaceChildren(...title);
  $("detail-body").replaceChildren(...body);
  $("detail").hidden = false;
  $("overview").hidden = true;
  $("detail-title").focus();
}

// ---- the list ----

/** What is shown, and where following continues. */
const list = {
  parameters: {}, // of the search of which the rows are
  stale: false, // a reading of it was begun, and has not ended
  next: "0", // the cursor
  changes: 0,
  unseen: 0, // newer than the row at the top
};

const rows = () => [...$("rows").children];
const rowOf = (key) => rows().find((element) => element.dataset.key === key);
const focusRow = (key) => rowOf(key)?.querySelector("a").focus({ preventScroll: true });

function markOpened() {
  for (const element of rows()) element.ariaCurrent = element.dataset.key === route.seq ? "true" : null;
}

/** Nothing moves under a reader who has scrolled or chosen a row. */
const mayMove = () => scrollY < 100 && !list.unseen && !$("rows").contains(document.activeElement);

/** Puts messages, the newest last, on top, or says on a button that they are there. */
function arrived(messages) {
  announce(messages.length);
  if (!mayMove()) return showUnseen(list.unseen + messages.length);
  showEmpty(false);
  $("rows").prepend(...messages.map(VIEWS.messages.row).reverse());
  for (const extra of rows().slice(ROWS_MAX)) {
    extra.remove();
    $("older").hidden = false;
  }
}

function showUnseen(count) {
  list.unseen = count;
  $("more-new").hidden = count === 0;
  $("more-new").textContent = `${plural(count, "newer message")}: show`;
}

/** Draws the newest page of the view; following continues behind it. */
async function reload() {
  const { view, q } = route;
  const asked = view === "messages" ? parameters(q) : {};
  const page = await get(VIEWS[view].path, { ...asked, limit: PAGE_ROWS }, following.controller.signal);
  Object.assign(list, { parameters: asked, next: page.next, changes: page.changes });
  showUnseen(0);
  const newestFirst = view === "refused" ? page.data : page.data.reverse();
  const focused = rows().find((element) => element.contains(document.activeElement));
  $("columns").replaceChildren(...VIEWS[view].columns.map((textContent, index) =>
    make("th", { scope: "col", className: COLUMNS[index], textContent })));
  $("rows").replaceChildren(...newestFirst.map(VIEWS[view].row));
  $("older").hidden = view !== "messages" || !page.earlier;
  showEmpty(newestFirst.length === 0);
  markOpened();
  if (focused) focusRow(focused.dataset.key);
}

async function older() {
  const page = await get("/arrivals", { ...list.parameters, before: rows().at(-1).dataset.key, limit: PAGE_ROWS });
  const added = page.data.map(VIEWS.messages.row).reverse();
  $("rows").append(...added);
  const extra = rows().slice(0, -ROWS_MAX);
  extra.forEach((element) => element.remove());
  showUnseen(list.unseen + extra.length);
  $("older").hidden = !page.earlier;
  markOpened();
  added[0]?.querySelector("a").focus();
}

function showEmpty(empty) {
  $("empty").hidden = !empty;
  $("list").hidden = empty;
  const first = route.view === "messages" && !route.q;
  $("empty-lines").hidden = $("empty-copy").hidden = !first;
  $("empty-title").textContent = first ? "No messages yet" : "Nothing here";
  $("empty-text").textContent = route.q ? "No message matches this search. New ones that do will appear here."
    : VIEWS[route.view].empty;
  if (empty && first) $("empty-lines").textContent = firstLines();
}

/** What sends a first message to this address; README.md explains the lines. */
function firstLines() {
  const ts = new Date().toISOString();
  return `body='{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"${ts}","text":"Hello"}'
signature=$(printf %s "$body" | openssl dgst -sha256 -hmac development-secret -r | cut -d ' ' -f 1)
curl -s -H "X-Signature: $signature" --data-binary "$body" ${location.origin}/webhook`;
}

/** Fetches all matches, and hands them to the browser as a file. */
async function download() {
  const lines = [];
  let page = { next: "0", more: true };
  while (page.more && lines.length < DOWNLOAD_ROWS_MAX) {
    page = await get("/arrivals", { ...parameters(route.q), after: page.next, limit: 100 });
    lines.push(...page.data.map((message) => `${JSON.stringify(message)}\n`));
  }
  const url = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
  make("a", { href: url, download: "messages.jsonl" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  if (page.more) notice(`The file ends after ${plural(lines.length, "message")}. webhook-inbox export has no bound.`);
}

// ---- the overview ----

/** This machine's distance from UTC, such as +05:30: hours begin by its clock. */
const offset = () =>
  new Date().toLocaleString("en", { timeZoneName: "longOffset" }).match(/[+-]\d+:\d+$/)?.[0] || "+00:00";

const countRow = (href, label, count, ...bar) => make("tr", {},
  make("td", { className: "name" }, make("a", { href }, label)), ...bar, words("td", "number", number(count)));

/** A plot of bars that lead to their messages. A keyboard finds the same links in the table. */
function drawHistory(buckets) {
  const max = Math.max(...buckets.map((it) => it.count));
  const bars = buckets.map(({ ts, count }, index) => {
    const height = count && Math.max(2, (count / max) * 100);
    return drawing("a", { href: searchFor(`since:${ts}`), tabindex: -1 },
      drawing("title", {}, `${time(ts).textContent}: ${number(count)}`),
      drawing("rect", { x: index * 10, width: 10, height: 100, class: "reach" }),
      drawing("rect", { x: index * 10 + 1, y: 100 - height, width: 8, height, class: "bar-fill" }));
  });
  const most = `at most ${number(max)}`;
  const shape = { viewBox: `0 0 ${buckets.length * 10} 100`, preserveAspectRatio: "none", role: "group" };
  $("plot").replaceChildren(drawing("svg", { ...shape, "aria-label": `Messages per hour, ${most}` }, ...bars),
    make("p", { className: "bar quiet" }, time(buckets[0].ts), words("span", "", most), "now"));
  const line = ({ ts, count }) => countRow(searchFor(`since:${ts}`), time(ts), count);
  $("history").replaceChildren(...buckets.reverse().map(line));
}

/** A table with bars beside numbers. */
function drawSenders(senders) {
  $("senders").replaceChildren(...senders.map(({ from, count }) => {
    const rect = drawing("rect", { width: `${(count / senders[0].count) * 100}%`, height: 8, class: "bar-fill" });
    const bar = drawing("svg", { height: 8, "aria-hidden": true }, rect);
    return countRow(searchFor(`from:${from}`), stranger(from), count, make("td", {}, bar));
  }));
}

async function refresh() {
  refresh.due = undefined;
  if (document.hidden) return; // it is due again when the page is shown
  try {
    const [stats, history, sources, refusals] = await Promise.all([get("/stats"),
      get("/stats/history", { bucket: "hour", count: 48, offset: offset() }), get("/sources"),
      get("/refusals", { limit: 1 })]);
    const configured = sources.data.filter((it) => it.configured);
    $("figures").textContent = [plural(stats.total_messages, "message"), ...configured.map((it) =>
      `${it.source} ${it.last_accepted_at ? ago(it.last_accepted_at) : "not yet"}`)].join(" · ");
    const { hash } = document.activeElement;
    drawHistory(history.data);
    drawSenders(stats.messages_per_sender);
    document.querySelector(`tbody a[href="${hash}"]`)?.focus({ preventScroll: true }); // as before
    $("refused").textContent = refusals.kept ? number(refusals.kept) : "";
  } catch {
    // The state line says what is wrong: following finds the same.
  }
}

function refreshSoon() {
  refresh.due ??= setTimeout(refresh, OVERVIEW_MS);
}

// ---- the state line ----

function showState(state, text) {
  $("state").dataset.state = state;
  $("state-text").textContent = text;
}

function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text;
}

/** The list itself is not live: a screen reader would read every row. */
function announce(count) {
  announce.count = (announce.count || 0) + count;
  announce.timer ??= setTimeout(() => {
    $("announcement").textContent = plural(announce.count, "new message");
    announce.count = announce.timer = undefined;
  }, ANNOUNCE_MS);
}

// ---- following ----

const following = {
  paused: false,
  failures: 0,
  controller: new AbortController(), // of the loop that runs: to start another is to abort it
};

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Ends the loop that runs, and returns the signal of the next. */
function stop() {
  following.controller.abort();
  following.controller = new AbortController();
  return following.controller.signal;
}

/** Follows the view. With `again`, its list is read first. */
async function follow(again) {
  again ||= list.stale;
  const signal = stop();
  let wait = POLL_S;
  while (!signal.aborted) {
    try {
      list.stale = again;
      if (again) await reload();
      list.stale = again = false;
      showApp();
      if (document.hidden || following.paused) {
        return showState("paused", document.hidden ? "Paused while hidden" : "Paused");
      }
      if ($("state").dataset.state !== "live") refreshSoon();
      following.failures = 0;
      showState("live", "Live");
      again = await (route.view === "messages" ? poll(wait, signal) : sleep(LOOK_MS).then(() => scrollY < 100));
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 503 && error.message.includes("wait")) {
        wait = 0;
        notice("MAX_WAITERS pages follow this inbox already, so this one looks every 5 s. Close others, or raise it.");
      } else if (error.status === 410) {
        again = true; // the database was restored from an older backup
      } else if (error.status < 500) {
        showState("paused", "Stopped");
        return failed(error);
      } else {
        await retry(error.status === 503 ? "Service not ready" : "Offline", signal);
      }
    }
  }
}

/** One question to /arrivals. True: the list is to be read again. */
async function poll(wait, signal) {
  const page = await get("/arrivals", { ...list.parameters, after: list.next, wait, limit: 100 }, signal);
  if (page.data.length || page.changes !== list.changes) refreshSoon();
  if (page.changes !== list.changes) return true; // something was erased or edited
  if (page.more && page.data.length) return jump(signal);
  list.next = page.next;
  if (page.data.length) arrived(page.data);
  if (!wait) await sleep(LOOK_MS);
}

/** More has arrived than a page holds: continue with the newest, and say how many were passed over. */
async function jump(signal) {
  const before = Number(list.next);
  if (mayMove()) {
    await reload();
    const passed = Number(rows().at(-1).dataset.key) - before - 1;
    if (passed > 0) notice(`Messages arrive faster than they can be read: about ${number(passed)} were passed over.`);
  } else {
    const { next } = await get("/arrivals", { ...list.parameters, after: "now" }, signal);
    showUnseen(list.unseen + next - before);
    list.next = next;
  }
  await sleep(FLOOD_PAUSE_MS);
}

/** Waits until the next try: 1, 2, 4 … 30 s. */
async function retry(what, signal) {
  for (let left = Math.min(30, 2 ** following.failures); left > 0 && !signal.aborted; left -= 1) {
    showState("offline", `${what}, next try in ${left} s`);
    await sleep(1000);
  }
  following.failures += 1;
}

function failed(error) {
  if (error.status === 401) showLogIn();
  else if (error.status === 422) showFault(error.detail.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; "));
  else notice(error.message);
}

function showFault(text) {
  $("query-fault").textContent = text;
  $("query-fault").hidden = !text;
  $("query").ariaInvalid = text ? "true" : null;
}

function pause() {
  following.paused = !following.paused;
  $("pause").ariaPressed = following.paused;
  $("pause").textContent = following.paused ? "Resume" : "Pause";
  follow(false);
}

// ---- the way through the page ----

async function go() {
  const before = route;
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  route = { view: Object.hasOwn(VIEWS, given.view) ? given.view : "messages", q: given.q || "", seq: given.seq || "" };
  const changed = before.view !== route.view || before.q !== route.q;
  if (changed) {
    showFault("");
    notice("");
    $("query").value = route.q;
    $("search").hidden = route.view !== "messages";
    for (const link of $("views").children) {
      link.ariaCurrent = link.getAttribute("href") === fragment({}) ? "page" : null;
    }
    follow(true);
  }
  if (changed || before.seq !== route.seq) await showDetail(before.seq);
}

function close() {
  location.hash = fragment({ q: route.q });
}

function showApp() {
  $("app").hidden = $("session").hidden = false;
  $("log-out").hidden = document.documentElement.dataset.logIn !== "yes";
}

function showLogIn() {
  stop();
  showState("out", "Logged out");
  $("figures").textContent = "";
  if (!$("app").hidden) $("log-in-why").textContent = "The session has ended. Log in again to continue where you were.";
  $("app").hidden = $("session").hidden = $("log-out").hidden = true;
  $("log-in").hidden = false;
  if (location.hash === "#wrong") $("log-in-why").textContent = "That was not the read token. Try again.";
  // The fragment survives the log-in, and with it the search.
  else $("log-in").action = `/inbox/login${location.hash}`;
  $("token").focus();
}

// ---- the keyboard ----

function step(by) {
  const at = rows().findIndex((element) => element.contains(document.activeElement));
  rows()[Math.min(rows().length - 1, Math.max(0, at + by))]?.querySelector("a").focus();
}

const KEYS = {
  "/": () => $("query").focus(),
  j: () => step(1),
  k: () => step(-1),
  p: pause,
  "?": () => $("help").showModal(),
};

function onKey(event) {
  const elsewhere = /^(INPUT|SELECT)$/.test(event.target.tagName) || $("app").hidden || $("help").open;
  if (event.ctrlKey || event.metaKey || event.altKey || elsewhere) return;
  let action = $("keys-on").checked ? KEYS[event.key] : undefined;
  if ($("rows").contains(event.target)) action ??= { ArrowDown: KEYS.j, ArrowUp: KEYS.k }[event.key];
  if (event.key === "Escape" && route.seq) action = close;
  if (!action) return;
  event.preventDefault();
  action();
}

// ---- the start ----

addEventListener("hashchange", go);
addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", () => follow(false));
$("search").onsubmit = (event) => {
  event.preventDefault();
  const q = $("query").value.trim();
  if (q === route.q) follow(true);
  else location.hash = searchFor(q);
};
$("pause").onclick = pause;
$("more-new").onclick = () => {
  scrollTo(0, 0);
  follow(true);
};
for (const [id, action] of Object.entries({ older, download })) {
  $(id).onclick = async (event) => {
    event.target.disabled = true;
    await action().catch(failed);
    event.target.disabled = false;
  };
}
$("close").onclick = close;
$("empty-copy").onclick = (event) => copy(event.target, $("empty-lines").textContent);
$("help-open").onclick = KEYS["?"];
go();
refresh();
setInterval(() => following.failures || refresh(), OVERVIEW_IDLE_MS);
