// SPDX-License-Identifier: Apache-2.0
// One stream (/v2/watch) feeds the tables; the agent, its members and the leader are asked for
// every two seconds. Text goes into the page as text nodes only.
"use strict";

const KINDS = ["instance", "task", "environment", "deployment"];
const rows = Object.fromEntries(KINDS.map((kind) => [kind, new Map()]));
const docs = { agent: {}, leader: {}, members: [] };
let lastId = "";
let stale = null; // { ms, at }: age of the data when it was told
let live = false;
let dirty = true;

const $ = (id) => document.getElementById(id);

// -- the token: from the address' fragment (which no server sees), kept for this tab ------------

function takeToken() {
  const given = /^#t=([^&]+)/.exec(location.hash);
  if (given) {
    sessionStorage.setItem("token", decodeURIComponent(given[1]));
    history.replaceState(null, "", location.pathname);
  }
}

function headers(more) {
  const token = sessionStorage.getItem("token");
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

function notice(text) {
  const box = $("notice");
  if (box.textContent !== text) box.textContent = text;
  box.hidden = text === "";
}

function refused(status) {
  $("login").hidden = status !== 401;
  notice(status === 401
    ? "This agent asks for a token. It stays in this tab."
    : `The agent answered ${status}: this token may not read.`);
}

// -- data ------------------------------------------------------------------------------------------

async function ask(path) {
  const answer = await fetch(path, { headers: headers({}), cache: "no-store" });
  const age = answer.headers.get("Blox-Staleness-Ms");
  stale = age && age !== "unknown" ? { ms: Number(age), at: Date.now() } : null;
  if (answer.status === 401 || answer.status === 403) refused(answer.status);
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

async function poll() {
  try {
    const [agent, leader, members] =
      await Promise.all(["/v2/agent", "/v2/leader", "/v2/members"].map(ask));
    docs.agent = agent;
    docs.leader = leader;
    docs.members = members.items || [];
    dirty = true;
  } catch (error) {
    if (error instanceof TypeError) live = false;
  }
  setTimeout(poll, 2000);
}

function take(event) {
  if (event.event === "put") rows[event.kind].set(keyOf(event.kind, event.item), event.item);
  else if (event.event === "delete") rows[event.kind].delete(event.item.id);
  else if (event.event === "reset") for (const kind of KINDS) rows[kind].clear();
  if (event.index) lastId = event.index;
  dirty = true;
}

// A deployment's row is named by its environment and id; its item carries the id alone.
function keyOf(kind, item) {
  return kind === "deployment" ? `${item.environment}/${item.id}` : item.id;
}

async function watch() {
  let wait = 500;
  for (;;) {
    try {
      const more = { Accept: "application/x-ndjson" };
      if (lastId) more["Last-Event-ID"] = lastId;
      else for (const kind of KINDS) rows[kind].clear();
      const answer = await fetch(`/v2/watch?kinds=${KINDS.join()}`,
        { headers: headers(more), cache: "no-store" });
      if (answer.status === 401 || answer.status === 403) {
        refused(answer.status);
        return; // the form starts again
      }
      if (!answer.ok) throw new Error(String(answer.status));
      live = true;
      wait = 500;
      notice("");
      $("login").hidden = true;
      await readLines(answer.body.getReader());
    } catch (error) {
      // told below: the stream is gone, whatever the reason
    }
    live = false;
    notice("The connection to the agent is lost; trying again. What you see may be old.");
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(wait * 2, 5000);
  }
}

async function readLines(reader) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) if (line !== "") take(JSON.parse(line));
  }
}

// -- page ------------------------------------------------------------------------------------------

const MARKS = { good: "\u2713 ", warn: "! ", bad: "\u2717 ", busy: "\u2026 " };
const MOODS = {
  ACTIVE: "good", RUNNING: "good", active: "good", healthy: "good", completed: "good",
  alive: "good", ready: "good", connected: "good",
  DRAINING: "warn", degraded: "warn", suspect: "warn", deleting: "warn", leaving: "warn",
  REGISTERING: "busy", PENDING: "busy", pending: "busy", running: "busy", syncing: "busy",
  starting: "busy",
  INACTIVE: "bad", unhealthy: "bad", dead: "bad", failed: "bad", disconnected: "bad",
};

// A state by word and mark as well as by colour.
function state(word) {
  const span = document.createElement("span");
  const mood = MOODS[word];
  if (mood) span.className = mood;
  span.textContent = (MARKS[mood] || "") + (word || "\u2013");
  return span;
}

function progress(counts) {
  const box = document.createElement("span");
  if (!counts || counts.desired === undefined) {
    box.textContent = "\u2013";
    return box;
  }
  const bar = document.createElement("progress");
  const words = `${counts.running || 0} of ${counts.desired} running` +
    (counts.pending ? `, ${counts.pending} pending` : "") +
    (counts.failed ? `, ${counts.failed} failed` : "");
  bar.max = Math.max(counts.desired, 1);
  bar.value = counts.desired === 0 ? 1 : counts.running || 0;
  bar.setAttribute("aria-label", words);
  box.append(bar, ` ${words}`);
  return box;
}

function last(arn) {
  return arn ? arn.slice(arn.lastIndexOf("/") + 1) : "\u2013";
}

function fill(id, lines, nothing) {
  const body = $(id).tBodies[0];
  const fresh = document.createDocumentFragment();
  for (const cells of lines) {
    const tr = document.createElement("tr");
    for (const cell of cells) {
      const td = document.createElement("td");
      td.append(cell === undefined || cell === null || cell === "" ? "\u2013" : cell);
      tr.append(td);
    }
    fresh.append(tr);
  }
  if (lines.length === 0) {
    const td = document.createElement("td");
    td.colSpan = $(id).tHead.rows[0].cells.length;
    td.className = "empty";
    td.textContent = nothing;
    const tr = document.createElement("tr");
    tr.append(td);
    fresh.append(tr);
  }
  body.replaceChildren(fresh);
}

function tiles(pairs) {
  $("summary").replaceChildren(...pairs.map(([name, value]) => {
    const li = document.createElement("li");
    const strong = document.createElement("strong");
    strong.textContent = String(value);
    li.append(strong, name);
    return li;
  }));
}

function countBy(items, member) {
  const counts = new Map();
  for (const item of items) counts.set(item[member], (counts.get(item[member]) || 0) + 1);
  return [...counts].sort();
}

function attribute(instance, name) {
  const found = (instance.attributes || []).find((a) => a.name === name);
  return found ? found.value : undefined;
}

function drawHead() {
  const agent = docs.agent;
  const leader = docs.leader.id || docs.leader.leader;
  $("cluster").textContent = agent.cluster ? last(agent.cluster) : "";
  $("agent").textContent = agent.id || "\u2013";
  $("state").replaceChildren(state(agent.state));
  if (agent.why) $("state").append(` (${agent.why})`);
  $("leader").textContent = leader ? leader + (leader === agent.id ? " (this agent)" : "") : "none";
}

function drawInstances(tasks) {
  const perInstance = new Map();
  for (const task of tasks) {
    if (task.lastStatus === "STOPPED" || task.lastStatus === "DELETED") continue;
    const entry = perInstance.get(task.containerInstanceArn) || { count: 0, daemons: [] };
    entry.count++;
    if ((task.group || "").startsWith("daemon:")) entry.daemons.push(task.group.slice(7));
    perInstance.set(task.containerInstanceArn, entry);
  }
  const wanted = $("filter").value.toLowerCase();
  const all = [...rows.instance.values()].map((i) => {
    const has = perInstance.get(i.containerInstanceArn) || { count: 0, daemons: [] };
    return [i.ec2InstanceId || last(i.containerInstanceArn), i.status,
      i.agentConnected ? "connected" : "disconnected",
      attribute(i, "ecs.availability-zone") || i.availabilityZone,
      attribute(i, "ecs.instance-type"), String(has.count), has.daemons.sort().join(", ")];
  }).filter((cells) => cells.join(" ").toLowerCase().includes(wanted));
  all.sort((a, b) => (a[0] < b[0] ? -1 : 1));
  $("shown").textContent = `${Math.min(all.length, 500)} of ${rows.instance.size} shown`;
  fill("instances", all.slice(0, 500).map((c) =>
    [c[0], state(c[1]), state(c[2]), c[3], c[4], c[5], c[6]]), "No instances.");
}

function draw() {
  const tasks = [...rows.task.values()];
  const deployments = [...rows.deployment.values()]
    .sort((a, b) => ((a.createdAt || "") < (b.createdAt || "") ? 1 : -1));
  drawHead();
  tiles([["agents", docs.members.length], ["instances", rows.instance.size],
    ...countBy(rows.instance.values(), "status").map(([s, n]) => [`instances ${s}`, n]),
    ["tasks", tasks.length], ...countBy(tasks, "lastStatus").map(([s, n]) => [`tasks ${s}`, n])]);
  fill("environments", [...rows.environment.values()]
    .sort((a, b) => (a.name < b.name ? -1 : 1)).map((e) => {
      const current = deployments.find((d) => d.environment === e.name &&
        (e.activeDeployment ? d.id === e.activeDeployment : true));
      return [e.name, state(e.status), state(e.health), last(e.taskDefinition), last(e.cluster),
        current ? state(current.status) : "none yet", progress(current && current.counts)];
    }), "No environments. Create one: blox environment create");
  fill("deployments", deployments.slice(0, 20).map((d) => [
    d.createdAt ? new Date(d.createdAt).toLocaleString() : "", d.environment, d.id,
    state(d.status), last(d.taskDefinition), progress(d.counts),
    (d.failedInstances || []).map((f) => `${last(f.arn || f)}${f.reason ? `: ${f.reason}` : ""}`)
      .join("; ")]), "No deployments.");
  const leader = docs.leader.id || docs.leader.leader;
  fill("members", docs.members.map((m) => [m.id, state(m.state || m.status),
    m.id === leader ? "leader" : m.role, m.address || m.addr, m.zone, m.version]),
  "No agents are known yet.");
  drawInstances(tasks);
}

function age() {
  const ms = stale ? stale.ms + Date.now() - stale.at : NaN;
  $("age").textContent = Number.isNaN(ms) ? "unknown" : `${(ms / 1000).toFixed(0)} s`;
  $("link").replaceChildren(state(live ? "connected" : "disconnected"));
}

// At most four drawings a second, however fast the rows change; none while nobody looks.
setInterval(() => {
  if (dirty && !document.hidden) {
    dirty = false;
    draw();
  }
  age();
}, 250);

$("filter").addEventListener("input", () => { dirty = true; });
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  $("token").value = "";
  notice("");
  watch();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== $("filter") &&
      !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    $("filter").focus();
  }
});

takeToken();
watch();
poll();
