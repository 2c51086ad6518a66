// A file of an artifact read from front to back, by range requests of what is looked at.
import { fileBytes } from "./api";

const WINDOW = 1 << 18;

export class Cursor {
  private window = new DataView(new ArrayBuffer(0));
  private start = 0; // of the window in the file
  at = 0;

  constructor(
    private readonly digest: string,
    private readonly path: string,
    readonly size: number,
  ) {}

  /** The next `length` bytes, which are then behind it. */
  async take(length: number): Promise<DataView> {
    if (!(length >= 0 && this.at + length <= this.size)) throw new Error(`${this.path} ends where it should go on`);
    if (this.at < this.start || this.at + length > this.start + this.window.byteLength) {
      const end = Math.min(this.size, this.at + Math.max(length, WINDOW));
      this.window = new DataView(end > this.at ? await fileBytes(this.digest, this.path, this.at, end) : new ArrayBuffer(0));
      this.start = this.at;
    }
    const view = new DataView(this.window.buffer, this.at - this.start, length);
    this.at += length;
    return view;
  }

  async text(length: number): Promise<string> {
    return new TextDecoder().decode(await this.take(length));
  }
}
