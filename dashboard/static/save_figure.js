// Saves a figure of the page as it is drawn, through Plotly's own camera button: it runs in the browser and asks no server.
export default function ({ data, parentElement }) {
  for (const button of parentElement.querySelectorAll("button")) {
    button.title = `Save as ${button.dataset.format.toUpperCase()}`;
    button.onclick = () => {
      const plot = document.querySelector(`.st-key-${data.chart} .js-plotly-plot`);
      const camera = [...plot.querySelectorAll(".modebar-btn")].find((one) => (one.dataset.title || "").startsWith("Download plot"));
      const options = plot._context.toImageButtonOptions;
      const paper = plot.layout.paper_bgcolor;
      plot._context.toImageButtonOptions = { ...options, format: button.dataset.format };
      // the page's own background, so that the words can be read wherever the file is pasted
      plot.layout.paper_bgcolor = getComputedStyle(document.querySelector(".stApp")).backgroundColor;
      camera.click();
      plot._context.toImageButtonOptions = options;
      plot.layout.paper_bgcolor = paper;
    };
  }
}
