// The page of webhook-inbox. Texts of strangers reach the document only through textContent and createElement.
//
// In the order in which they are used: words and elements, the server, the list, details, the overview, the state line,
// following, views, the keyboard, and the start.

"use strict";

const ROWS_MAX = 200; // in the document
const PAGE_ROWS = 50;
const POLL_S = 25; // below the time after which proxies cut a silent connection, often 30 s
const FLOOD_PAUSE_MS = 1000; // between two draws when more arrives than a page holds
const ANNOUNCE_MS = 5000; // between two sentences for a screen reader
const OVERVIEW_MS = 2000; // between an arrival and new figures
const RAW_CHARS_MAX = 256 * 1024; // a larger body is offered as a download only
const DOWNLOAD_ROWS_MAX = 100000;

const $ = (id) => document.getElementById(id);

// ---- words and elements ----

/** An element with properties, attributes (names with a dash, or in ATTRIBUTES) and children. */
function make(name, properties, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null) continue;
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

function drawing(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// Characters that change how others are shown, or that cannot be seen: C0 and C1 controls, and bidirectional controls.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const NAMES = { 0x200e: "LRM", 0x200f: "RLM", 0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF", 0x202d: "LRO", 0x202e: "RLO",
  0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI" };

/** A text of a stranger, isolated from the text around it, with marks in place of hidden characters. */
function stranger(text, name = "bdi") {
  const element = make(name, { dir: "auto", lang: "" });
  let from = 0;
  for (const { 0: found, index } of text.matchAll(HIDDEN)) {
    const code = found.codePointAt(0);
    const mark = NAMES[code] || `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
    element.append(text.slice(from, index), make("span", { className: "mark", textContent: `[${mark}]` }));
    from = index + 1;
  }
  element.append(text.slice(from));
  return element;
}

/** The same for JSON and source: escapes, which can be copied. */
const escaped = (text) => text.replace(HIDDEN, (found) => `\\u${found.codePointAt(0).toString(16).padStart(4, "0")}`);

const number = (value) => value.toLocaleString("en");
const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

/** An instant in this machine's time: the clock today, and the day too otherwise. */
function time(ts) {
  const instant = new Date(ts);
  if (isNaN(instant)) return make("span", { textContent: ts });
  const day = instant.toDateString() === new Date().toDateString() ? {} : { day: "2-digit", month: "short" };
  const old = instant.getFullYear() === new Date().getFullYear() ? { second: "2-digit" } : { year: "numeric" };
  const clock = day.day && old.year ? { ...day, ...old } : { ...day, hour: "2-digit", minute: "2-digit", second: "2-digit" };
  return make("time", { dateTime: ts, title: ts, textContent: instant.toLocaleString("en-GB", clock) });
}

/** Says for two seconds on the button that it has worked. */
async function copy(button, text) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed"; // over http, browsers allow it on this machine only
  }
  setTimeout(() => (button.textContent = label), 2000);
}

const button = (label, action) => {
  const element = make("button", { type: "button", textContent: label });
  element.onclick = () => action(element);
  return element;
};

// ---- the server ----

/** An answer that is not 200: `detail` is what the service says. */
class Refused extends Error {
  constructor(status, detail, retryS) {
    super(typeof detail === "string" ? detail : "the query cannot be used");
    Object.assign(this, { status, detail, retryS });
  }
}

/** JSON of a path, and whether the answer links to pages after and before it. */
async function get(path, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  const response = await fetch(query ? `${path}?${query}` : path, { signal, cache: "no-store" });
  const link = response.headers.get("Link") || "";
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body.detail, Number(response.headers.get("Retry-After")));
  return { ...body, more: link.includes('rel="next"'), earlier: link.includes('rel="prev"') };
}

const UNITS_S = { s: 1, m: 60, h: 3600, d: 86400 };

/** The parameters that a search stands for. An unknown `word:` is text. */
function parameters(query) {
  const found = {};
  const words = query.split(/\s+/).filter((word) => {
    const [, name, value] = word.match(/^(from|since|type|source):(\S+)$/) || [];
    if (!name) return true;
    const [, count, unit] = value.match(/^(\d{1,6})([smhd])$/) || [];
    const relative = name === "since" && unit;
    found[name] = relative ? new Date(Date.now() - count * UNITS_S[unit] * 1000).toISOString() : value;
    return false;
  });
  return { ...found, q: words.join(" ") };
}

// ---- the list ----

/** What is shown, and where following continues. */
const list = {
  query: "", // the search of which the rows are
  parameters: {},
  next: "0", // the cursor
  changes: 0,
  waiting: [], // arrived and not shown, the newest last; at most a page
  waitingCount: 0,
  detached: false, // the rows at the top were dropped to make room for older ones
};

function cell(name, ...content) {
  return make("td", { className: name === "open" ? "open" : `c-${name}`, role: "cell" }, ...content);
}

/** What stands for a message in one line. */
function summary(message) {
  const text = message.text === null ? [] : [stranger(message.text.slice(0, 300).replace(/\s+/g, " "))];
  if (message.type !== "text") text.unshift(make("span", { className: "quiet", textContent: `[${message.type}] ` }));
  return text;
}

function messageRow(message) {
  const href = fragment({ q: route.q, seq: message.seq });
  const row = make("tr", { role: "row" },
    cell("time", time(message.ts)),
    cell("from", stranger(message.profile_name || message.from)),
    cell("to", "→ ", stranger(message.to)),
    cell("open", make("a", { href }, ...summary(message))));
  row.dataset.key = message.seq;
  return row;
}

function markOpened() {
  for (const row of $("rows").children) {
    if (row.dataset.key === route.seq) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

/** Puts messages, the newest last, on top. */
function prepend(messages) {
  $("rows").prepend(...messages.map(messageRow).reverse());
  while ($("rows").children.length > ROWS_MAX) {
    $("rows").lastElementChild.remove();
    $("older").hidden = false;
  }
  markOpened();
}

/** Nothing moves under a reader who has scrolled, chosen a row or paused. */
function mayMove() {
  return scrollY < 100 && !$("rows").contains(document.activeElement) && !following.paused && !list.detached;
}

function arrived(messages) {
  $("empty").hidden = true;
  $("list").hidden = false;
  announce(messages.length);
  if (mayMove() && list.waitingCount === 0) return prepend(messages);
  list.waitingCount += messages.length;
  list.waiting = list.waiting.concat(messages).slice(-PAGE_ROWS);
  showWaiting();
}

function showWaiting() {
  $("more-new").hidden = list.waitingCount === 0;
  $("more-new").textContent = `${plural(list.waitingCount, "new message")}: show`;
}

async function takeWaiting() {
  const whole = list.waitingCount === list.waiting.length && !list.detached;
  const waiting = list.waiting;
  Object.assign(list, { waiting: [], waitingCount: 0 });
  showWaiting();
  scrollTo(0, 0);
  if (whole) prepend(waiting);
  else await reload();
}

/** Draws the newest page of the present search, and has following continue behind it. */
async function reload() {
  const query = route.q;
  const asked = parameters(query);
  const page = await get("/arrivals", { ...asked, limit: PAGE_ROWS }, following.signal());
  Object.assign(list, { query, parameters: asked, next: page.next, changes: page.changes, waiting: [], waitingCount: 0,
    detached: false });
  showWaiting();
  $("rows").replaceChildren(...page.data.map(messageRow).reverse());
  $("older").hidden = !page.earlier;
  showEmpty(page.data.length === 0, query);
  markOpened();
}

async function older() {
  const last = $("rows").lastElementChild;
  if (!last) return;
  const page = await get("/arrivals", { ...list.parameters, before: last.dataset.key, limit: PAGE_ROWS });
  const rows = page.data.map(messageRow).reverse();
  $("rows").append(...rows);
  while ($("rows").children.length > ROWS_MAX) {
    $("rows").firstElementChild.remove();
    list.detached = true;
  }
  $("older").hidden = !page.earlier;
  markOpened();
  if (rows[0]) rows[0].querySelector("a").focus();
}

function showEmpty(empty, query) {
  $("empty").hidden = !empty;
  $("list").hidden = empty;
  const first = empty && !query;
  $("empty-lines").hidden = $("empty-copy").hidden = !first;
  if (!empty) return;
  if (query) {
    $("empty-title").textContent = "Nothing matches";
    $("empty-text").textContent = "No message matches this search. New ones that do will appear here.";
  } else {
    $("empty-title").textContent = "No messages yet";
    $("empty-text").textContent = "Send the first one. In a shell, with the secret of this service in place of development-secret:";
    $("empty-lines").textContent = firstLines();
  }
}

/** What sends a first message to this address; README.md explains the lines. */
function firstLines() {
  const ts = new Date().toISOString();
  return `body='{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"${ts}","text":"Hello"}'
signature=$(printf %s "$body" | openssl dgst -sha256 -hmac development-secret -r | cut -d ' ' -f 1)
curl -s -H "X-Signature: $signature" --data-binary "$body" ${location.origin}/webhook`;
}

/** Fetches all matches page by page and hands them to the browser as a file. */
async function download(element) {
  const label = element.textContent;
  element.disabled = true;
  const parts = [];
  let [after, count, more] = ["0", 0, true];
  try {
    while (more && count < DOWNLOAD_ROWS_MAX) {
      const page = await get("/arrivals", { ...parameters(route.q), after, limit: 100 });
      parts.push(page.data.map((message) => JSON.stringify(message) + "\n").join(""));
      count += page.data.length;
      [after, more] = [page.next, page.more];
      element.textContent = number(count);
    }
    const url = URL.createObjectURL(new Blob(parts, { type: "application/jsonl" }));
    make("a", { href: url, download: "messages.jsonl" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
    if (more) notice(`The file ends after ${number(count)} messages. webhook-inbox export has no such bound.`);
  } catch (error) {
    failed(error);
  }
  element.textContent = label;
  element.disabled = false;
}

// ---- details ----

/** A definition list; what is null or undefined is left out. */
function facts(...pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const shown = (value) => (value instanceof Node ? value : stranger(String(value)));
  return make("dl", { className: "facts" },
    ...known.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", {}, shown(value))]));
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Lines that deliver the message once more. The secret stays where it is: webhook-inbox sign reads it there. */
function asCurl(message) {
  const { message_id, from, to, ts, text } = message;
  const scheme = message.source === "standard" ? " --scheme standard" : "";
  const body = JSON.stringify({ message_id, from, to, ts, text });
  const fields = scheme ? "\nprintf '%s\\n' \"$fields\" | curl -H @- " : "\ncurl -H \"$fields\" ";
  return `body=${quoted(body)}
fields=$(printf %s "$body" | webhook-inbox sign${scheme} --header)${fields}--data-binary "$body" ${location.origin}/webhook`;
}

/** Text in a box that scrolls, with its buttons. */
function source(title, text, ...buttons) {
  const bytes = new TextEncoder().encode(text).length;
  const summary = make("summary", { textContent: `${title} (${plural(bytes, "byte")})` });
  if (text.length > RAW_CHARS_MAX) return make("p", { textContent: `${title} is too large to show (${plural(bytes, "byte")}).` });
  const pre = make("pre", { className: "wrap", tabIndex: 0, textContent: escaped(text), "aria-label": title });
  return make("details", {}, summary, make("p", { className: "buttons" }, button("Copy", (it) => copy(it, text)), ...buttons), pre);
}

function messageDetail(message) {
  const sent = new Date(message.ts);
  const delay = (new Date(message.received_at) - sent) / 1000;
  const late = isNaN(delay) ? "" : ` (${delay < 0 ? "" : "+"}${number(Math.round(delay * 10) / 10)} s)`;
  const all = make("a", { href: fragment({ q: `from:${message.from}` }), textContent: "all of this sender" });
  const text = message.text === null ? make("p", { className: "quiet", textContent: "This message has no text." })
    : stranger(message.text, "div");
  text.classList.add("text");
  const parts = [text, facts(
    ["From", make("span", {}, stranger(message.from), " · ", all)], ["Name", message.profile_name],
    ["Sender id", message.from_id], ["To", message.to], ["Sent", message.ts],
    ["Received", `${message.received_at}${late}`], ["Type", message.type], ["Source", message.source],
    ["message_id", message.message_id], ["seq", message.seq],
    ["Context", message.context && JSON.stringify(message.context)])];
  if (message.source !== "meta") parts.push(make("p", { className: "buttons" }, button("Copy as curl", (it) => copy(it, asCurl(message)))));
  if (message.raw !== undefined) parts.push(source("Raw payload", JSON.stringify(message.raw, null, 2)));
  if (message.source === "meta") {
    const href = `/arrivals/${message.seq}/delivery`;
    parts.push(make("p", {}, make("a", { href, download: "", textContent: "Download the delivery as it was signed" })));
  }
  return parts;
}

/** Shows the message that the fragment names, or closes what is shown. */
async function showDetail() {
  document.body.classList.toggle("opened", Boolean(route.seq));
  markOpened();
  if (!route.seq) return closeDetail();
  try {
    const message = await get(`/arrivals/${encodeURIComponent(route.seq)}`);
    $("detail-title").replaceChildren("From ", stranger(message.profile_name || message.from));
    $("detail-body").replaceChildren(...messageDetail(message));
  } catch (error) {
    if (error.status === 401) return failed(error);
    const gone = error.status === 404;
    $("detail-title").textContent = gone ? "Not here any more" : "This cannot be shown";
    $("detail-body").replaceChildren(gone ? "It was erased, has expired, or never existed." : error.message);
  }
  $("detail").hidden = false;
  $("overview").hidden = true;
  $("detail-title").focus();
}

function closeDetail() {
  const was = !$("detail").hidden;
  $("detail").hidden = true;
  $("overview").hidden = false;
  if (was && showDetail.row) {
    const row = $("rows").querySelector(`[data-key="${CSS.escape(showDetail.row)}"] a`);
    if (row) row.focus();
  }
}

// ---- the overview ----

/** The most frequent senders: a table whose bars are drawn beside the numbers. */
function drawSenders(senders) {
  const max = Math.max(1, ...senders.map((sender) => sender.count));
  const rows = senders.map(({ from, count }) => make("tr", {},
    make("td", { className: "name" }, make("a", { href: fragment({ q: `from:${from}` }) }, stranger(from))),
    make("td", { "aria-hidden": "true" }, drawing("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", height: 8 },
      drawing("rect", { width: Math.max(1, (count / max) * 100), height: 8, class: "bar-fill" }))),
    make("td", { className: "number", textContent: number(count) })));
  $("senders").replaceChildren(...rows);
}

async function refreshOverview() {
  refreshOverview.due = undefined;
  if (document.hidden) return; // it is due again when the page is shown
  try {
    const stats = await get("/stats");
    drawSenders(stats.messages_per_sender);
    $("figures").textContent = plural(stats.total_messages, "message");
  } catch {
    // The state line says what is wrong: following finds the same.
  }
}

function overviewSoon() {
  refreshOverview.due ??= setTimeout(refreshOverview, OVERVIEW_MS);
}

// ---- the state line ----

const STATES = { connecting: "Connecting", live: "Live", paused: "Paused", hidden: "Paused while hidden", out: "Logged out" };

function showState(state, text = STATES[state]) {
  $("state").dataset.state = state;
  if ($("state-text").textContent !== text) $("state-text").textContent = text;
}

function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text;
}

const unsaid = { count: 0, timer: undefined };

/** The list itself is not live: a screen reader would read every row. */
function announce(count) {
  unsaid.count += count;
  unsaid.timer ??= setTimeout(() => {
    $("announcement").textContent = plural(unsaid.count, "new message");
    Object.assign(unsaid, { count: 0, timer: undefined });
  }, ANNOUNCE_MS);
}

// ---- following ----

const following = {
  paused: false,
  generation: 0, // of the loop that may go on; another one has been started when it has changed
  failures: 0,
  controller: new AbortController(),
  signal() {
    return this.controller.signal;
  },
};

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function stop() {
  following.generation += 1;
  following.controller.abort();
  following.controller = new AbortController();
}

/** Follows from the cursor on. With `again`, the list is read first. */
async function follow(again) {
  stop();
  if (document.hidden || following.paused) return showIdle();
  const mine = following.generation;
  if ($("state").dataset.state !== "live") showState("connecting");
  let reread = again;
  while (mine === following.generation) {
    try {
      if (reread) await reload();
      reread = false;
      if (following.failures || $("state").dataset.state !== "live") overviewSoon();
      following.failures = 0;
      showState("live");
      reread = await poll(mine);
    } catch (error) {
      if (mine !== following.generation) return;
      if (!(await recover(error, mine))) return;
      reread = error.status === 410 || reread;
    }
  }
}

/** One question to /arrivals. True: the list is to be read again. */
async function poll(mine) {
  const wait = following.crowded ? 0 : POLL_S;
  const page = await get("/arrivals", { ...list.parameters, after: list.next, wait, limit: 100 }, following.signal());
  if (mine !== following.generation) return false;
  const missed = page.changes !== list.changes;
  if (missed || page.data.length) overviewSoon();
  if (missed) {
    list.changes = page.changes;
    return true; // something was erased or edited
  }
  if (page.more && page.data.length) return jump();
  list.next = page.next;
  if (page.data.length) arrived(page.data);
  if (following.crowded) await sleep(2000);
  return false;
}

/** More has arrived than a page holds: continue with the newest, and say how many were passed over. */
async function jump() {
  const before = Number(list.next);
  if (mayMove()) {
    await reload();
    const first = $("rows").lastElementChild;
    const passed = first ? Number(first.dataset.key) - before - 1 : 0;
    announce($("rows").children.length);
    notice(passed > 0 && !list.query ? `Messages arrive faster than they can be read. About ${number(passed)} were passed over; Older shows them.` : "");
  } else {
    const page = await get("/arrivals", { ...list.parameters, limit: PAGE_ROWS }, following.signal());
    list.waitingCount += Math.max(page.data.length, Number(page.next) - before);
    Object.assign(list, { waiting: page.data, next: page.next, changes: page.changes });
    showWaiting();
  }
  await sleep(FLOOD_PAUSE_MS);
  return false;
}

/** Waits until the next try. False: trying again would not help. */
async function recover(error, mine) {
  if (error.status === 503 && /wait/.test(error.message)) {
    following.crowded = true; // ask without waiting from now on
    notice("As many pages as MAX_WAITERS allows follow this inbox. This one looks every 2 s.");
    return true;
  }
  if (error.status && error.status !== 410 && error.status < 500) return failed(error);
  if (error.status === 410) return true;
  following.failures += 1;
  const seconds = Math.min(30, 2 ** (following.failures - 1));
  const what = error.status === 503 ? "Service not ready" : "Offline";
  for (let left = seconds; left > 0 && mine === following.generation; left -= 1) {
    showState("offline", `${what}, next try in ${left} s`);
    await sleep(1000);
  }
  return mine === following.generation;
}

/** Shows what keeps the page from going on. */
function failed(error) {
  stop();
  if (error.status === 401) {
    showLogIn();
  } else if (error.status === 422) {
    const fault = Array.isArray(error.detail) ? error.detail.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ") : error.message;
    showFault(fault);
    showState("paused", "Search not understood");
  } else {
    showState("offline", error.status ? `Refused (${error.status})` : "Offline");
    notice(error.message);
  }
  return false;
}

function showFault(text) {
  $("query-fault").hidden = !text;
  $("query-fault").textContent = text;
  if (text) $("query").setAttribute("aria-invalid", "true");
  else $("query").removeAttribute("aria-invalid");
}

function showIdle() {
  showState(following.paused ? "paused" : "hidden");
}

function pause() {
  following.paused = !following.paused;
  $("pause").setAttribute("aria-pressed", String(following.paused));
  $("pause").textContent = following.paused ? "Resume" : "Pause";
  follow(false);
}

// ---- views ----

/** What the fragment says: a search, and the message that is opened. Neither logs nor Referer fields hold a fragment. */
let route = { q: "", seq: null };

function fragment(parts) {
  const given = Object.entries(parts).filter(([, value]) => value);
  return `#${new URLSearchParams(given)}`;
}

function readRoute() {
  const given = new URLSearchParams(location.hash.slice(1));
  return { q: given.get("q") || "", seq: given.get("seq") };
}

async function go(first) {
  const before = route;
  route = readRoute();
  const changed = first || before.q !== route.q;
  showDetail.row = before.seq;
  if (changed) {
    showFault("");
    notice("");
    $("query").value = route.q;
    $("more-new").hidden = true;
    follow(true);
  }
  if (changed || before.seq !== route.seq) await showDetail();
}

function showLogIn() {
  stop();
  showState("out");
  $("app").hidden = true;
  $("session").hidden = true;
  $("log-out").hidden = true;
  $("log-in").hidden = false;
  if (location.hash === "#wrong") $("log-in-why").textContent = "That was not the read token. Try again.";
  else if (showLogIn.was) $("log-in-why").textContent = "The session has ended. Log in again to continue where you were.";
  $("token").setAttribute("aria-invalid", String(location.hash === "#wrong"));
  // The fragment survives the log-in, and with it the search.
  if (location.hash !== "#wrong") $("log-in").action = `/inbox/login${location.hash}`;
  $("token").focus();
}

// ---- the keyboard ----

/** Moves the focus among the rows. */
function step(by) {
  const links = [...$("rows").querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  const next = at < 0 ? links[0] : links[Math.min(links.length - 1, Math.max(0, at + by))];
  if (next) next.focus();
}

const KEYS = {
  "/": () => $("query").focus(),
  j: () => step(1),
  k: () => step(-1),
  p: pause,
  "?": () => $("help").showModal(),
};

function onKey(event) {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.ctrlKey || event.metaKey || event.altKey || typing || $("app").hidden || $("help").open) return;
  const inList = $("rows").contains(event.target);
  let action = $("keys-on").checked ? KEYS[event.key] : undefined;
  if (inList && event.key === "ArrowDown") action = () => step(1);
  if (inList && event.key === "ArrowUp") action = () => step(-1);
  if (event.key === "Escape" && route.seq) action = close;
  if (!action) return;
  event.preventDefault();
  action();
}

function close() {
  location.hash = fragment({ q: route.q });
}

// ---- the start ----

async function start() {
  try {
    await get("/stats");
  } catch (error) {
    if (error.status === 401) return showLogIn();
    if (error.status) return failed(error);
  }
  showLogIn.was = true;
  if (location.hash === "#wrong") history.replaceState(null, "", "/inbox");
  $("app").hidden = false;
  $("session").hidden = false;
  $("log-out").hidden = document.documentElement.dataset.logIn !== "yes";
  go(true);
  refreshOverview();
  setInterval(() => following.failures || refreshOverview(), 30000);
}

addEventListener("hashchange", () => go(false));
addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", () => follow(false));
$("search").onsubmit = (event) => {
  event.preventDefault();
  const q = $("query").value.trim();
  if (q === route.q) follow(true);
  else location.hash = fragment({ q });
};
$("pause").onclick = pause;
$("older").onclick = () => older().catch(failed);
$("more-new").onclick = () => takeWaiting().catch(failed);
$("download").onclick = (event) => download(event.target);
$("close").onclick = close;
$("empty-copy").onclick = (event) => copy(event.target, $("empty-lines").textContent);
$("help-open").onclick = () => $("help").showModal();
$("help-close").onclick = () => $("help").close();
start();
