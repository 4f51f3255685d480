import type { ComponentChildren, RefObject } from "preact";

export interface PageProps {
  title: string;
  query: URLSearchParams;
  heading: RefObject<HTMLHeadingElement | null>;
}

export function PageHead(props: { page: PageProps; note?: ComponentChildren; children?: ComponentChildren }) {
  return (
    <div class="head">
      <div>
        <h1 ref={props.page.heading} tabIndex={-1}>
          {props.page.title}
        </h1>
        {props.note && <p class="note">{props.note}</p>}
      </div>
      <div class="tools">{props.children}</div>
    </div>
  );
}
