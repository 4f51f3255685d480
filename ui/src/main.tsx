import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/cards.css";
import "./styles/charts.css";
import "./styles/tables.css";
import "./styles/requests.css";
import "./styles/states.css";
import "./styles/narrow.css";
import { render } from "preact";
import { App } from "./app";
import { apply } from "./theme";

apply();
const root = document.getElementById("app");
if (root !== null) render(<App />, root);
