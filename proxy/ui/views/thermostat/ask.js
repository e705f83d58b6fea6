// Real answers at a strength: a question asked there and then, unsteered and steered side by side as they come.
import { events, get } from "../../api.js";
import { Button, Notice, TextField } from "../../components/controls.js";
import { html, useEffect, useRef, useState } from "../../html.js";
import { link, modelOf } from "../../store.js";
import { addressed, options } from "../play/state.js";
import { signed } from "../play/words.js";

const MOST = 2; // the strongest a request may ask for
const trimmed = (x) => Math.min(Math.max(x, -MOST), MOST);

/** The trait's own questions that its vectors are measured by, as this model's world knows them. */
async function questionsOf(version) {
  const trait = await get(`api/traits/${version.trait}`, { quiet: true });
  const world = modelOf(version.model)?.world;
  return (trait.question_sets[world] ?? trait.questions).evaluate;
}

/** `at` is {version, x}: the strength x of the version's positive pole, below 0 of the other one. */
export function Ask({ at }) {
  const { version, x } = at;
  const strength = trimmed(x);
  const [questions, setQuestions] = useState([]);
  const [question, setQuestion] = useState(null);
  const [answers, setAnswers] = useState(null);
  const [error, setError] = useState(null);
  const running = useRef(null);
  const heading = useRef(null);

  const ask = async (prompt) => {
    running.current?.abort();
    const abort = (running.current = new AbortController());
    const found = ["", ""];
    setError(null);
    setAnswers(found);
    try {
      // As Play asks, whose settings stay for as long as the page is open: the same question is answered alike in both.
      const set = Object.fromEntries(Object.entries(options.peek()).filter(([, value]) => value != null));
      const body = { model: version.model, persona: version.positive, prompt, coefficient: strength, ...set, stream: true };
      for await (const { data } of events("POST", "api/steering/test", body, { signal: abort.signal })) {
        if (data.error) throw Object.assign(new Error(data.error.message), data.error);
        if (data.content) setAnswers([...Object.assign(found, { [data.index]: found[data.index] + data.content })]);
      }
    } catch (failed) {
      if (failed.name !== "AbortError") setError(failed);
    }
    if (running.current === abort) running.current = null;
    setAnswers([...found]);
  };

  useEffect(() => {
    heading.current?.focus({ preventScroll: true });
    heading.current?.scrollIntoView({ block: "nearest" });
    if (question) ask(question);
    else questionsOf(version).then((all) => {
      setQuestions(all);
      setQuestion(all[0]);
      ask(all[0]);
    }, setError);
    return () => running.current?.abort();
  }, [version.id, strength]);

  const another = () => {
    const next = questions[(questions.indexOf(question) + 1) % questions.length];
    setQuestion(next);
    ask(next);
  };
  const titles = ["Not steered", x < 0 ? `${version.negative} ${signed(-strength)}` : `${version.positive} ${signed(strength)}`];
  return html`
    <section class="panel ask" aria-label="Answers at this strength">
      <h2 tabindex="-1" ref=${heading}>${version.model} at ${signed(strength)}</h2>
      ${strength !== x && html`<p class="hint">A request may ask for ${signed(strength)} at most; this point was measured at ${signed(x)}.</p>`}
      ${!version.in_use && html`<p class="hint">The model answers by the version in use, which is not the one of this curve.</p>`}
      <form class="ask-form" onSubmit=${(event) => { event.preventDefault(); ask(question); }}>
        <${TextField} label="Question" value=${question ?? ""} onInput=${setQuestion} error=${error?.param === "prompt" ? error.message : null} />
        <${Button} type="submit" disabled=${!question}>Ask</${Button}>
        <${Button} kind="quiet" disabled=${!questions.length} onClick=${another}>Another question</${Button}>
      </form>
      ${error && error.param !== "prompt" && html`<${Notice} kind="error" live>${error.message}</${Notice}>`}
      ${answers && !(error && !answers.join("")) && html`<div class="ask-answers" aria-busy=${running.current ? "true" : "false"}>
        ${answers.map((text, i) => html`<div key=${i}><h3 dir="auto">${titles[i]}</h3><p class="answer" dir="auto">${text || html`<span class="muted">…</span>`}</p></div>`)}
      </div>`}
      <a href=${link("play", [["model", version.model], ["ask", question ?? ""], ["persona", version.positive], ...addressed(options.value), ["c", `${version.positive}:0`], ["c", `${version.positive}:${strength}`]])}>Go on in Play</a>
    </section>
  `;
}
