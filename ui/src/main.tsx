import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/parts.css";
import { render } from "preact";
import { App } from "./app";
import { apply } from "./theme";

apply();
const root = document.getElementById("app");
if (root !== null) render(<App />, root);
