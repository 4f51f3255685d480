import type { RequestRow } from "../contract";
import { count, duration, usd } from "../format";
import { CheckIcon, CrossIcon, DashIcon } from "../parts/icons";
import { type Step, wayOf } from "../way";

const ICONS = { good: <CheckIcon />, bad: <CrossIcon />, skipped: <DashIcon /> };
const SAID = { good: "passed", bad: "failed", skipped: "not reached" };

/** A request's way, step by step, with the time that each attempt took. */
export function Way({ row }: { row: RequestRow }) {
  const steps = wayOf(row);
  const tried_s = row.attempts.reduce((total, attempt) => total + (attempt.duration_s ?? 0), 0);
  const whole_s = Math.max(row.duration_s ?? 0, tried_s);
  return (
    <div class="way">
      <ol>
        {steps.map((step) => (
          <StepLine key={step.title} step={step} whole_s={whole_s} first_s={step === steps.at(-1) ? row.ttft_s : null} />
        ))}
      </ol>
      <dl>
        <div>
          <dt>Request</dt>
          <dd>
            <code>{row.request_id}</code>
          </dd>
        </div>
        <div>
          <dt>Endpoint</dt>
          <dd>
            {row.endpoint}
            {row.stream ? ", stream" : ""}
          </dd>
        </div>
        <div>
          <dt>Tokens</dt>
          <dd>
            {count(row.input_tokens)} in, {count(row.output_tokens)} out
          </dd>
        </div>
        <div>
          <dt>Cost</dt>
          <dd>{usd(row.cost_usd)}</dd>
        </div>
        {row.ttft_s !== null && (
          <div>
            <dt>First token</dt>
            <dd>{duration(row.ttft_s)}</dd>
          </div>
        )}
        {row.duration_s !== null && row.attempts.length > 0 && (
          <div>
            <dt>Gateway and pauses</dt>
            <dd>{duration(Math.max(0, row.duration_s - tried_s))}</dd>
          </div>
        )}
      </dl>
    </div>
  );
}

function StepLine({ step, whole_s, first_s }: { step: Step; whole_s: number; first_s: number | null }) {
  const timed = step.duration_s !== undefined && whole_s > 0;
  const left = timed ? ((step.start_s ?? 0) / whole_s) * 100 : 0;
  const width = timed ? Math.max(0.6, ((step.duration_s ?? 0) / whole_s) * 100) : 0;
  return (
    <li class={step.verdict}>
      <span class="dot">
        {ICONS[step.verdict]}
        <span class="sr">{SAID[step.verdict]}: </span>
      </span>
      <span class="what">
        <b>{step.title}</b> <span class="muted">{step.text}</span>
      </span>
      <span class="lane" aria-hidden="true">
        {timed && <span class="span" style={{ left: `${Math.min(left, 99)}%`, width: `${Math.min(width, 100 - Math.min(left, 99))}%` }} />}
        {timed && first_s !== null && (
          <span class="first" title="First token" style={{ left: `${Math.min(100, (first_s / whole_s) * 100)}%` }} />
        )}
      </span>
      <span class="took">{step.duration_s === undefined ? "" : duration(step.duration_s)}</span>
    </li>
  );
}
