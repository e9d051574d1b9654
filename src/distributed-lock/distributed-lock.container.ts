import type { ModulesContainer } from '@nestjs/core';

type ModuleOf<Container> = Container extends Map<string, infer Module> ? Module : never;
type Wrapper = ModuleOf<ModulesContainer>['providers'] extends Map<unknown, infer W> ? W : never;

/** Every instance that exists once per application: providers, controllers, guards and other injectables, middlewares. */
export function instancesIn(modules: ModulesContainer): ReadonlySet<object> {
  const instances = new Set<object>();
  for (const wrapper of wrappersIn(modules)) {
    // Request-scoped classes have a placeholder here, which nobody constructed.
    if (!wrapper.isDependencyTreeStatic()) continue;
    const found: readonly unknown[] = wrapper.isTransient
      ? wrapper.getStaticTransientInstances().map((host) => host?.instance)
      : [wrapper.instance];
    for (const instance of found) if (isObject(instance)) instances.add(instance);
  }
  return instances;
}

/** The prototypes of all classes in the container, of every scope, with the classes they extend. */
export function prototypesIn(modules: ModulesContainer): ReadonlySet<object> {
  const prototypes = new Set<object>();
  for (const wrapper of wrappersIn(modules)) {
    addChain(prototypes, (wrapper.metatype as { prototype?: unknown } | null)?.prototype);
    if (isObject(wrapper.instance)) addChain(prototypes, Object.getPrototypeOf(wrapper.instance));
  }
  return prototypes;
}

function addChain(prototypes: Set<object>, start: unknown): void {
  for (let prototype = start; isObject(prototype); prototype = Object.getPrototypeOf(prototype)) {
    if (prototype === Object.prototype || prototypes.has(prototype)) return;
    prototypes.add(prototype);
  }
}

function* wrappersIn(modules: ModulesContainer): Generator<Wrapper> {
  for (const module of modules.values()) {
    for (const collection of [
      module.providers,
      module.controllers,
      module.injectables,
      module.middlewares,
    ]) {
      yield* collection.values() as Iterable<Wrapper>;
    }
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
