import { ConflictException, Injectable, NotFoundException } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { DistributedLock } from 'nestjs-distributed-lock';
import { Repository } from 'typeorm';
import { Application } from '../application/application.entity.js';
import { Quote } from './quote.entity.js';

@Injectable()
export class QuoteSubmitService {
  constructor(
    @InjectRepository(Application) private readonly applications: Repository<Application>,
    @InjectRepository(Quote) private readonly quotes: Repository<Quote>,
  ) {}

  /** Submits a quote to an open application. */
  @DistributedLock('application:{applicationId}')
  async submit(applicationId: string, supplier: string, amount: number): Promise<Quote> {
    const application = await this.applications.findOneBy({ id: applicationId });
    if (!application) throw new NotFoundException(`There is no application ${applicationId}.`);
    if (application.status !== 'OPEN') throw new ConflictException('The application is cancelled.');
    return this.quotes.save({ applicationId, supplier, amount });
  }
}
