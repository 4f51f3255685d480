import type { Subject } from "../contract";
import { count, duration, percent } from "../format";
import { Meter } from "../parts/controls";

/** Who uses how much of a limit, fullest first. */
export function Subjects({ subjects, limits }: { subjects: readonly Subject[]; limits: number }) {
  if (subjects.length === 0) {
    return (
      <p class="calm">
        {limits === 0 ? (
          <>
            No limit is configured. Add one under <code>limits:</code> in tidegate.yaml.
          </>
        ) : (
          "Nobody is using a limit right now."
        )}
      </p>
    );
  }
  return (
    <ul class="subjects">
      {subjects.map((subject) => (
        <li key={`${subject.limit} ${subject.per} ${subject.subject}`}>
          <span class="who" title={`${subject.subject}, ${subject.limit}`}>
            <b>{subject.subject}</b> <span class="muted">{subject.limit}</span>
          </span>
          <Meter ratio={subject.used_ratio} label={`${subject.subject}, ${subject.limit}`} title={again(subject)} />
          <span class="much">{percent(Math.floor(subject.used_ratio * 100) / 100)}</span>
          <span class="rest muted">{subject.remaining === null ? "" : `${count(subject.remaining)} left`}</span>
        </li>
      ))}
    </ul>
  );
}

function again(subject: Subject): string {
  return subject.full_in_s ? `all free again in ${duration(subject.full_in_s)}` : "all free";
}
