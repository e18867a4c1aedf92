"use strict";
// The live figures beside the chat, once a second while somebody looks.

const LOOK_EVERY_MS = 1000;
// What umad's guard allows: five of a hundred tokens may come later than the cap.
const MOST_LATE_PCT = 5;
// A share of few tokens says little: one slow token of ten is no fault. So many must be late before
// the guard counts as broken, whatever their share.
const FEW_LATE = 5;
const INTERACTIVE = "interactive";

const figure = (value, digits, unit) =>
  value === null || value === undefined ? "–" : `${value.toFixed(digits)}${unit}`;

const percent = (value) => `${value < 10 ? value.toFixed(1).replace(/\.0$/, "") : value.toFixed(0)} %`;

// What the guard's figures of the window mean, as {state, words, share of the scale}.
const guardOf = (card) => {
  const tokens = card.lanes?.[INTERACTIVE]?.tokens ?? 0;
  const pct = card.over_cap_pct;
  if (pct === null || pct === undefined || !tokens) return {state: "idle", words: "nobody reads", pct: 0};
  const late = Math.round((pct / 100) * tokens);
  const words = `${percent(pct)} of ${tokens} late`;
  if (pct <= MOST_LATE_PCT) return {state: "held", words: `holds: ${words}`, pct};
  if (late < FEW_LATE) return {state: "held", words: `holds: ${late} slow of ${tokens} tokens`, pct};
  const alone = card.over_cap_alone_pct ?? 0;
  if (alone > MOST_LATE_PCT) return {state: "machine", words: `${words}: the machine is busy`, pct};
  return {state: "over", words: `does not hold: ${words}`, pct};
};

const fill = (id, main, small) => {
  at(id).replaceChildren(main, small ? element("small", "", small) : "");
};

// `parts` are shares of the whole, one for each segment.
const fillMeter = (id, parts, words, state = "") => {
  const meter = at(id);
  const now = Math.min(1, parts.reduce((sum, one) => sum + one, 0));
  meter.dataset.state = state;
  meter.setAttribute("aria-valuemax", "1");
  meter.setAttribute("aria-valuenow", now.toFixed(3));
  meter.setAttribute("aria-valuetext", words);
  meter.querySelectorAll("i").forEach((segment, number) => {
    segment.style.width = `${100 * Math.min(1, parts[number] ?? 0)}%`;
  });
};

const rows = (id, all) => {
  at(id).tBodies[0].replaceChildren(...all.map((cells) => {
    const row = document.createElement("tr");
    for (const value of cells) {
      const cell = row.insertCell();
      cell.textContent = value;
      if (typeof value === "number" || /^[\d.–]+×?$/.test(value)) cell.className = "n";
    }
    return row;
  }));
};

const scorecard = {
  hasFigures: true,  // until /metrics says that they are for admins
  loadedAgain() {
    this.hasFigures = true;
  },

  // A user's key has the list of its own requests and no figures of everybody's.
  async figures() {
    if (!this.hasFigures) return null;
    try {
      return await gateway.get("/metrics");
    } catch (error) {
      if (error.status !== 403) throw error;
      this.hasFigures = false;
      return null;
    }
  },

  async look() {
    const [card, status] = await Promise.all([this.figures(), gateway.get("/status")]);
    await models.heard(status.models);
    rows("running", status.requests.map((one) => [
      one.app, one.model, one.lane, one.waits_for ? `waits: ${one.waits_for}` : one.state, one.generated]));
    at("idle").hidden = status.requests.length > 0;
    at("figures").hidden = at("by-app").hidden = !card;
    if (card) this.show(card);
  },

  show(card) {
    const guard = guardOf(card);
    at("guard").textContent = guard.words;
    at("guard").dataset.state = guard.state;
    // The scale ends at four times what is allowed; the mark stands at what is allowed.
    fillMeter("guardbar", [guard.pct / (4 * MOST_LATE_PCT)], guard.words, guard.state);

    const used = card.kv_cells_used ?? 0;
    const kept = card.kv_cells_retained ?? 0;
    const total = card.kv_cells_total ?? 0;
    const cells = `${used} of ${total} cells, ${kept} kept`;
    at("kv").textContent = cells;
    fillMeter("kvbar", total ? [used / total, kept / total] : [0, 0], cells);

    const moved = card.bmt_gbps ?? 0;
    const budget = card.bmt_budget_gbps;
    const traffic = budget ? `${moved.toFixed(1)} of ${budget.toFixed(0)} GB/s`
      : `${moved.toFixed(1)} GB/s, no budget`;
    at("budget").textContent = traffic;
    fillMeter("budgetbar", [budget ? moved / budget : 0], traffic, moved > budget ? "warn" : "");

    fill("p95", figure(card.p95_over_solo, 2, "×"), `${figure(card.p95_ms, 1, " ms")}, cap ${card.latency_cap}×`);
    fill("speed", figure(card.tokens_per_s, 1, ""), `${card.running} running`);
    fill("bmt", figure(card.sum_bmt_mb_per_token, 1, " MB"), "");
    fill("ttft", figure(card.ttft_p95_ms, 0, " ms"), "");
    rows("apps", Object.entries(card.apps).map(([name, app]) =>
      [name, figure(app.tokens_per_s, 1, ""), figure(app.p95_over_solo, 2, "×")]));
  },

  // One look at a time, and none while nobody looks.
  async watch() {
    if (!document.hidden) {
      try {
        await this.look();
        this.say("");
      } catch (error) {
        this.say(error.message);
      }
    }
    setTimeout(() => this.watch(), LOOK_EVERY_MS);
  },

  say(words) {
    if (at("note").textContent !== words) at("note").textContent = words;
  },
};
