// The parts of the page that the server need not answer for.
(() => {
  const LANGUAGES = ["en", "de", "zh"]; // of texts.yaml
  const wanted = navigator.language.split("-")[0].toLowerCase();
  document.documentElement.lang = LANGUAGES.includes(wanted) ? wanted : LANGUAGES[0];

  const quiet = window.matchMedia("(prefers-reduced-motion: reduce)");
  const detail = () => document.querySelector("#detail");

  // The address of a search can be shared; on a Space the page is a frame, and its parent holds the address.
  const share = (text) => {
    const address = new URL(window.location.href);
    if (text && text.trim()) address.searchParams.set("q", text.trim());
    else address.searchParams.delete("q");
    window.history.replaceState(null, "", address);
    if (window.parent !== window) {
      window.parent.postMessage({ queryString: address.searchParams.toString() }, "https://huggingface.co");
    }
  };

  // On a narrow page the player is above the results: bring it into view when another result was chosen.
  const reveal = () => {
    const video = detail()?.querySelector(".screen");
    if (!video) return;
    const box = video.getBoundingClientRect();
    if (box.top < 0 || box.top > window.innerHeight * 0.6) {
      video.scrollIntoView({ behavior: quiet.matches ? "auto" : "smooth", block: "start" });
    }
  };

  // Without a video, the picture of the frame that is nearest.
  const show = (time) => {
    const screen = detail()?.querySelector(".screen img");
    const away = (frame) => Math.abs(Number(frame.dataset.seek) - Number(time));
    const frames = [...(detail()?.querySelectorAll(".frame[data-seek]") ?? [])].sort((a, b) => away(a) - away(b));
    if (screen && frames.length && time) screen.src = frames[0].querySelector("img").src;
  };

  const seek = (time) => {
    const video = detail()?.querySelector("video");
    if (!video) return show(time);
    video.currentTime = Number(time);
    if (!quiet.matches) video.play().catch(() => {});
  };

  document.addEventListener("click", (event) => {
    const target = event.target.closest?.("#detail [data-seek]");
    if (target) seek(target.dataset.seek);
  });

  // The timeline: by its keys and by dragging, and wherever it is touched, which not every browser takes for a drag.
  document.addEventListener("input", (event) => {
    if (event.target.matches?.("#detail .seekbar")) seek(event.target.value);
  });
  document.addEventListener("click", (event) => {
    const bar = event.target.closest?.("#detail .seekbar");
    if (bar) seek((event.offsetX / bar.clientWidth) * bar.max);
  });

  // The result that plays already, chosen again, plays again from its best moment: no new source would start it.
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#results .card[aria-pressed=true]")) seek(detail()?.querySelector("video")?.dataset.start);
  }, true);

  // The player's element may stay while its source changes, so that its events are heard here; they do not bubble.
  const hear = (name, answer) => document.addEventListener(name, (event) => {
    if (event.target.matches?.("#detail video")) answer(event.target);
  }, true);

  // A source starts at its best moment, muted, unless the visitor wants things to keep still.
  hear("loadedmetadata", (video) => {
    const from = Number(video.dataset.start);
    video.muted = true;
    if (Math.abs(video.currentTime - from) > 0.25) video.currentTime = from;
    if (!quiet.matches) video.play().catch(() => {});
  });

  hear("error", (video) => {
    const note = video.parentElement.querySelector(".unplayable");
    if (note) note.hidden = false;
  });

  // The time and the frame on screen are marked while the video plays.
  hear("timeupdate", (video) => {
    const bar = detail().querySelector(".seekbar");
    if (bar) {
      bar.value = video.currentTime;
      bar.setAttribute("aria-valuetext", new Date(1000 * video.currentTime).toISOString().slice(11, 19));
    }
    let current = null;
    for (const frame of detail().querySelectorAll(".frame[data-seek]")) {
      frame.classList.remove("current");
      if (Number(frame.dataset.seek) <= video.currentTime + 0.05) current = frame;
    }
    current?.classList.add("current");
  });

  // What was found is said to those who do not see it appear, in a place that stays while results come and go.
  const announce = (results) => {
    const place = document.createElement("div");
    place.className = "unseen";
    place.setAttribute("role", "status");
    results.after(place);
    new MutationObserver(() => {
      place.textContent = results.querySelector("[data-said]")?.dataset.said ?? "";
    }).observe(results, { childList: true, subtree: true });
  };

  window.dmae = { announce, share, reveal };
})();
