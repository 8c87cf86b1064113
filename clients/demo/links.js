/**
 * Links from mail: `#reset=TOKEN` for a new password, `#invitation=TOKEN` for a membership. The token leaves the address
 * before anything else happens, so that it stays in no history and no screenshot, and is held as long as the dialog asks.
 */

import { call } from "./session.js";
import { sentence } from "./words.js";

const LINK = /^#(reset|invitation)=(.+)$/;
const MIN_LENGTH = 10; // of a new password; the server has the last word
const TROUBLES = {
  0: "The server cannot be reached. Try again in a moment.",
  429: "Too many attempts from here. Try again in a minute.",
  503: "The server is busy. Try again in a moment.",
};

export class MailLinks {
  #dialog;
  #form;
  #act = null; // what the button does: it answers with the step after it
  #isBusy = false;
  #$ = (selector) => this.#dialog.querySelector(selector);

  constructor(dialog) {
    this.#dialog = dialog;
    this.#form = dialog.querySelector("form");
    const { shown, password } = this.#form.elements;
    shown.addEventListener("change", () => (password.type = shown.checked ? "text" : "password"));
    password.addEventListener("input", () => this.#complain(""));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.#$(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => this.#forget());
    addEventListener("hashchange", () => this.#take());
    this.#take();
  }

  #take() {
    const [, name, token] = LINK.exec(location.hash) ?? [];
    if (!token) return;
    history.replaceState(history.state, "", location.pathname + location.search);
    if (name === "reset") this.#askForPassword(token);
    else void this.#fetchOffer(token);
  }

  // ── a forgotten password ────────────────────────────────────────────────────────────────────

  #askForPassword(token) {
    this.#ask({
      title: "Choose a new password",
      lead: "It takes the place of the one that you forgot, and ends all your sessions.",
      button: "Set password",
      act: async ({ password }) => {
        await call("POST", "api/auth/password-reset/confirm", { body: { token, new_password: password } });
        return () => this.#end("Your new password is set", "All your sessions have ended. Sign in with it from now on.");
      },
    });
  }

  // ── an invitation ───────────────────────────────────────────────────────────────────────────

  /** What it offers, before anything is asked. */
  async #fetchOffer(token) {
    const act = async () => {
      const offer = await call("POST", "api/auth/invitations/show", { body: { token } });
      return () => this.#askToJoin(token, offer);
    };
    this.#ask({ title: "You are invited", lead: "Looking at your invitation", button: "Try again", act, asksPassword: false });
    await this.#submit();
  }

  #askToJoin(token, { organization_name: organization, role, email, name, has_password: isKnown }) {
    const asked = name === null ? "Say what you are called, and choose a password." : isKnown ? `Your password, ${name}, is all it takes.` : "Choose a password.";
    this.#ask({
      title: `Join ${organization}`,
      lead: `You are invited as ${withArticle(role)}, with the address ${email}. ${asked}`,
      button: "Join",
      email,
      asksName: name === null,
      isKnown,
      act: async (fields) => {
        await call("POST", "api/auth/invitations/accept", { body: { token, ...fields } });
        return () => this.#end(`Welcome to ${organization}`, `You belong to it now, as ${withArticle(role)}. Sign in as ${email}.`);
      },
    });
  }

  // ── the dialog ──────────────────────────────────────────────────────────────────────────────

  #ask({ title, lead, button, act, email = "", asksName = false, asksPassword = true, isKnown = false }) {
    const { elements } = this.#form;
    this.#forget();
    this.#act = act;
    this.#say(title, lead);
    elements.email.value = email;
    this.#show(".called", asksName);
    for (const part of [".secret", ".rule", ".switch"]) this.#show(part, asksPassword);
    this.#$(".secret span").textContent = isKnown ? "Password" : "New password";
    this.#$(".rule").textContent = isKnown ? "The one that you sign in with" : `At least ${MIN_LENGTH} characters`;
    elements.password.autocomplete = isKnown ? "current-password" : "new-password";
    elements.password.minLength = isKnown ? 1 : MIN_LENGTH;
    this.#show("[type=submit]", true);
    this.#$("[type=submit]").textContent = button;
    this.#$(".close").textContent = "Not now";
    if (!this.#dialog.open) this.#dialog.showModal();
    (asksName ? elements.name : asksPassword ? elements.password : this.#$("h2")).focus();
  }

  async #submit() {
    if (this.#isBusy) return;
    const wrong = this.#faultOf(this.#form.elements);
    if (wrong) return this.#complain(...wrong);
    this.#complain("");
    this.#isBusy = true;
    this.#dialog.ariaBusy = "true";
    const { name, password } = this.#form.elements;
    const act = this.#act;
    try {
      const next = await act({ password: password.value, ...(this.#isShown(name) && { name: name.value.trim() }) });
      if (act === this.#act) next(); // else somebody has closed the dialog
    } catch (problem) {
      if (act === this.#act) this.#refused(problem);
    } finally {
      this.#isBusy = false;
      this.#dialog.ariaBusy = "false";
    }
  }

  /** What is wanting, and the input in which. */
  #faultOf({ name, password }) {
    if (this.#isShown(name) && !name.value.trim()) return ["Say what you are called.", name];
    if (!this.#isShown(password)) return null;
    const length = [...password.value].length;
    if (length >= password.minLength) return null;
    return [length === 0 ? "There is no password yet." : `It has ${length} characters, and needs ${MIN_LENGTH}.`, password];
  }

  #refused({ status, code, message }) {
    const { password } = this.#form.elements;
    if (code === "link_refused") this.#end("This link is no longer good", "It was used, taken back or is too old. Nothing has changed. Ask for another one.");
    else if (code === "credentials_refused") this.#complain("That is not the password of your account.", password);
    else this.#complain(TROUBLES[status] ?? sentence(message));
  }

  #complain(text, input) {
    this.#$(".problem").textContent = text;
    for (const each of [this.#form.elements.name, this.#form.elements.password]) each.ariaInvalid = String(each === input);
    input?.focus();
    input?.select();
  }

  /** Nothing more is asked. */
  #end(title, lead) {
    this.#forget();
    this.#say(title, lead);
    for (const part of [".called", ".secret", ".rule", ".switch", "[type=submit]"]) this.#show(part, false);
    this.#$(".close").textContent = "Close";
    this.#$("h2").focus();
  }

  #forget() {
    this.#act = null;
    this.#form.reset();
    this.#form.elements.password.type = "password";
    this.#complain("");
  }

  #say(title, lead) {
    this.#$("h2").textContent = title;
    this.#$(".lead").textContent = lead;
  }

  #show(selector, isShown) {
    this.#$(selector).hidden = !isShown;
  }

  #isShown(input) {
    return !input.closest("label").hidden;
  }
}

const withArticle = (role) => `${/^[aeiou]/.test(role) ? "an" : "a"} ${role}`;
