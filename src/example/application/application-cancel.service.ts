import { ConflictException, Injectable, NotFoundException } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { DistributedLock } from 'nestjs-distributed-lock';
import { Repository } from 'typeorm';
import { Quote } from '../quote/quote.entity.js';
import { Application } from './application.entity.js';

@Injectable()
export class ApplicationCancelService {
  constructor(
    @InjectRepository(Application) private readonly applications: Repository<Application>,
    @InjectRepository(Quote) private readonly quotes: Repository<Quote>,
  ) {}

  /** Cancels an open application that nobody has submitted a quote to. */
  @DistributedLock('application:{applicationId}')
  async cancel(applicationId: string): Promise<Application> {
    const application = await this.applications.findOneBy({ id: applicationId });
    if (!application) throw new NotFoundException(`There is no application ${applicationId}.`);
    if (application.status === 'CANCELLED') return application;
    if (await this.quotes.existsBy({ applicationId })) {
      throw new ConflictException(
        'A quote was submitted: the application cannot be cancelled any more.',
      );
    }
    application.status = 'CANCELLED';
    return this.applications.save(application);
  }
}
