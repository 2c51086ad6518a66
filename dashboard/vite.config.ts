// Builds the page into static files with hashed names; scripts/build says where to (--outDir).
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "../build/release/share/wring/dashboard",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 900,
  },
  // `npx vite` in this folder: the page with live reload, before a server on the usual port.
  server: { proxy: { "/api": { target: "http://127.0.0.1:7480", headers: { origin: "http://127.0.0.1:7480" }, changeOrigin: true } } },
});
