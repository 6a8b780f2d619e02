// Where the bar of figures stands: the equaliser, which is another component, writes into it (js/totals.js).
export default function (component) {
  globalThis[Symbol.for("toast.figures")] = component.parentElement.querySelector(".figures");
  dispatchEvent(new Event("toast-figures"));
}
