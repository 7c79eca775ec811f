"use strict"
// The page around the pictures: colours of light and dark, and the shared axis of time by keys.
;(() => {
  const COLOURS = {
    light: { ink: "#1c1c1e", faint: "#5c5f66", rule: "#d9dce1" },
    dark: { ink: "#ececf0", faint: "#a4a8b1", rule: "#343943" },
  }
  const BRIGHTER = { "#0072B2": "#52A9E8", "#D55E00": "#F0803C" } // where the page is dark
  const drawn = new Map() // colours as they were drawn
  const STEP = 0.25 // of the window, for one key
  const root = document.documentElement
  const byId = (id) => document.getElementById(id)
  const preferred = window.matchMedia("(prefers-color-scheme: dark)")
  let theme = preferred.matches ? "dark" : "light"

  function brighten(glyph, key, name) {
    if (!drawn.has(glyph)) drawn.set(glyph, glyph[key])
    const colour = drawn.get(glyph)
    const value = colour?.value ?? colour
    glyph[key] = name === "dark" ? (BRIGHTER[value] ?? value) : value
  }

  function paint(pictures, name) {
    const { ink, faint, rule } = COLOURS[name]
    for (const model of pictures._all_models.values()) {
      if (model.type.endsWith("Axis")) {
        model.setv({ axis_label_text_color: faint, major_label_text_color: faint })
        model.setv({ axis_line_color: rule, major_tick_line_color: rule, minor_tick_line_color: null })
      } else if (model.type === "Grid") {
        model.grid_line_color = rule
      } else if (model.type === "Legend") {
        model.label_text_color = ink
        model.inactive_fill_color = rule
      } else if (model.tags?.includes("ink")) {
        if (model.type === "Label") model.text_color = ink
        else if (model.type === "Line") model.line_color = ink
        else model.fill_color = ink
      } else if (model.type === "Line") {
        brighten(model, "line_color", name)
      } else if (model.type === "Scatter") {
        brighten(model, "fill_color", name)
        brighten(model, "line_color", name)
      } else if (model.type === "VArea") {
        brighten(model, "fill_color", name)
      } else if (model.type === "LinearColorMapper") {
        if (!drawn.has(model)) drawn.set(model, model.palette)
        const bright = (colour) => (name === "dark" ? (BRIGHTER[colour] ?? colour) : colour)
        model.palette = drawn.get(model).map(bright)
      }
    }
  }

  function start(pictures) {
    const time = pictures.get_model_by_name("time")
    const end = time.end
    const show = (name) => {
      root.classList.toggle("dark", name === "dark")
      paint(pictures, name)
    }
    const look = (from, to) => {
      const width = Math.min(Math.max(to - from, end / 1e6), end)
      const begin = Math.min(Math.max(from, 0), end - width)
      time.setv({ start: begin, end: begin + width })
    }
    const say = () => {
      const seconds = (value) => `${Number(value.toPrecision(7))} s`
      byId("window").textContent = `${seconds(time.start)} to ${seconds(time.end)}`
    }
    const shift = (part) => {
      const by = (time.end - time.start) * part
      look(time.start + by, time.end + by)
    }
    const scale = (factor) => {
      const middle = (time.start + time.end) / 2
      const half = ((time.end - time.start) / 2) * factor
      look(middle - half, middle + half)
    }
    const swap = () => show((theme = theme === "dark" ? "light" : "dark"))
    const actions = {
      earlier: [["ArrowLeft"], () => shift(-STEP)],
      later: [["ArrowRight"], () => shift(STEP)],
      in: [["+", "="], () => scale(0.5)],
      out: [["-", "_"], () => scale(2)],
      whole: [["0"], () => look(0, end)],
      theme: [["t"], swap],
    }
    for (const [id, [, act]] of Object.entries(actions)) byId(id).addEventListener("click", act)
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return
      const found = Object.values(actions).find(([keys]) => keys.includes(event.key))
      if (!found) return
      event.preventDefault()
      found[1]()
    })
    preferred.addEventListener("change", (event) => show((theme = event.matches ? "dark" : "light")))
    window.addEventListener("beforeprint", () => show("light"))
    window.addEventListener("afterprint", () => show(theme))
    time.change.connect(say)
    show(theme)
    say()
    root.dataset.ready = "yes"
  }

  const wait = () => {
    const pictures = window.Bokeh?.documents?.[0]
    if (pictures) start(pictures)
    else window.setTimeout(wait, 20)
  }
  wait()
})()
