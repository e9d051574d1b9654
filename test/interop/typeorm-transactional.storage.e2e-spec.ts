import { initializeTransactionalContext, StorageDriver } from 'typeorm-transactional';
import { describeInterop } from './clauses.js';
import { typeormTransactionalLibrary } from './typeorm-transactional.library.js';

initializeTransactionalContext({ storageDriver: StorageDriver.ASYNC_LOCAL_STORAGE });

describeInterop(typeormTransactionalLibrary('typeorm-transactional over AsyncLocalStorage'));
