/** `@decorator` on a method, in plain JavaScript. */
export function decorate(type, method, decorator) {
  const descriptor = Object.getOwnPropertyDescriptor(type.prototype, method);
  const decorated = decorator(type.prototype, method, descriptor) ?? descriptor;
  Object.defineProperty(type.prototype, method, decorated);
}
